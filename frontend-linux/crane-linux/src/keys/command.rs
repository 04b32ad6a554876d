//! `crane-linux keys`: makes and shows the keys of a group.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::names;
use crate::options::PEER_PORT;
use crate::terminal::{complain, print_line};

use super::args::{DirectoryArgs, HostsArgs, KeysCommands};
use super::authority::{AUTHORITY_FILE, Authority, fingerprint};
use super::file::{KeyFile, write_secret};
use super::place::{EXTENSION, KEYS_DIRECTORY, file_name};
use super::subject::Subject;

/// The name of the key file of operators.
const OPERATOR_FILE: &str = "operator.keys";

/// Runs the subcommand, and returns the exit status.
pub(crate) fn run(command: &KeysCommands) -> i32 {
    let outcome = match command {
        KeysCommands::Init(args) => init(args),
        KeysCommands::Add(args) => add(args),
        KeysCommands::Show { files } => show(files),
        KeysCommands::Rotate(args) => rotate(args),
    };
    match outcome {
        Ok(lines) => {
            let printed = lines.iter().all(|line| print_line(line));
            i32::from(!printed)
        }
        Err(why) => {
            complain(&why);
            1
        }
    }
}

/// Makes the keys of a new group in a new directory, for members by their names. Operators get a
/// key file as well.
///
/// # Errors
/// Returns the system's error, or why there are keys already.
pub(crate) fn make(args: &DirectoryArgs, members: &[String]) -> Result<Vec<String>, String> {
    let directory = &args.dir;
    if directory.join(AUTHORITY_FILE).exists() {
        return Err(format!(
            "{} has the keys of a group already; add hosts to it with crane-linux keys add, or \
             give another --dir",
            directory.display()
        ));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let authority = Authority::new(args.valid_for)?;
    authority.write(directory)?;
    issue_all(&authority, args, members.iter().cloned().map(Subject::Member))
}

fn init(args: &HostsArgs) -> Result<Vec<String>, String> {
    make(&args.directory, &members(&args.hosts)?)
}

fn add(args: &HostsArgs) -> Result<Vec<String>, String> {
    let directory = &args.directory.dir;
    let authority = Authority::read(directory)?;
    let members = members(&args.hosts)?;
    let known = |member: &&String| directory.join(file_name(member, PEER_PORT)).exists();
    if let Some(member) = members.iter().find(known) {
        return Err(format!(
            "{} has a key file for {member} already; remove it first, or make all anew with \
             crane-linux keys rotate",
            directory.display()
        ));
    }
    issue_all(&authority, &args.directory, members.into_iter().map(Subject::Member))
}

fn rotate(args: &DirectoryArgs) -> Result<Vec<String>, String> {
    let next = Authority::read(&args.dir)?.successor(args.valid_for)?;
    let subjects: Vec<Subject> = key_files(&args.dir)?
        .iter()
        .map(|path| Ok(KeyFile::read(path)?.subject))
        .collect::<Result<_, String>>()?;
    // A rotation that was interrupted is repeated: what it has written trusts the former authority.
    let lines = issue_all(&next, args, subjects.into_iter())?;
    next.write(&args.dir)?;
    Ok(lines)
}

fn show(files: &[PathBuf]) -> Result<Vec<String>, String> {
    let all = key_files(Path::new(KEYS_DIRECTORY));
    let files = if files.is_empty() { all? } else { files.to_vec() };
    files.iter().map(|path| describe(path)).collect()
}

fn describe(path: &Path) -> Result<String, String> {
    let file = KeyFile::read(path)?;
    let until = match file.valid_until() {
        Some(until) => format!("valid until {}", humantime::format_rfc3339_seconds(until)),
        None => "NOT VALID NOW: expired, or this host's clock is wrong".to_string(),
    };
    let trusted: Vec<String> = file.trusted.iter().map(fingerprint).collect();
    let (name, trusted) = (&file.subject, trusted.join(", "));
    Ok(format!("{}: {name}, {until}, trusts {trusted}", path.display()))
}

fn issue_all(
    authority: &Authority,
    args: &DirectoryArgs,
    subjects: impl Iterator<Item = Subject>,
) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    let operator = (!args.dir.join(OPERATOR_FILE).exists()).then_some(Subject::Operator);
    for subject in subjects.chain(operator) {
        let name = match &subject {
            Subject::Member(name) => file_name(name, PEER_PORT),
            Subject::Operator => OPERATOR_FILE.to_string(),
        };
        let path = args.dir.join(name);
        write_secret(&path, &authority.issue(&subject, args.valid_for)?)?;
        lines.push(format!("{}: the keys of {subject}", path.display()));
    }
    Ok(lines)
}

/// Returns the key files in a directory, but not the authority's.
fn key_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let items = fs::read_dir(directory).map_err(|error| {
        format!("{}: {error}; make keys with crane-linux keys init", directory.display())
    })?;
    let is_key_file = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == EXTENSION)
            && path.file_name().is_some_and(|name| name != AUTHORITY_FILE)
    };
    let mut files: Vec<PathBuf> =
        items.filter_map(Result::ok).map(|item| item.path()).filter(is_key_file).collect();
    files.sort();
    Ok(files)
}

/// Returns the names of members, each once.
fn members(hosts: &[String]) -> Result<Vec<String>, String> {
    let given = hosts.iter().flat_map(|host| host.split(','));
    let mut members: Vec<String> =
        given.map(|host| names::member_name(host, PEER_PORT)).collect::<Result<_, _>>()?;
    members.sort();
    members.dedup();
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    fn scratch(name: &str) -> DirectoryArgs {
        let dir = std::env::temp_dir().join(format!("crane-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        DirectoryArgs { dir, valid_for: Duration::from_secs(86_400) }
    }

    #[test]
    fn each_host_gets_a_file_that_names_it() {
        use std::os::unix::fs::PermissionsExt;
        let args = scratch("keys");
        let lines = make(&args, &["10.0.0.1:6790".into(), "[::1]:7".into()]).unwrap();
        assert_eq!(lines.len(), 3);
        let file = KeyFile::read(&args.dir.join("10.0.0.1.keys")).unwrap();
        assert_eq!(file.subject, Subject::Member("10.0.0.1:6790".into()));
        let left = file.valid_until().unwrap().duration_since(SystemTime::now()).unwrap();
        assert!((86_390..=86_400).contains(&left.as_secs()), "{left:?}");
        let operator = KeyFile::read(&args.dir.join(OPERATOR_FILE)).unwrap();
        assert_eq!(operator.subject, Subject::Operator);
        for path in key_files(&args.dir).unwrap().iter().chain([&args.dir.join(AUTHORITY_FILE)]) {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        }
        assert!(make(&args, &["x:1".into()]).unwrap_err().contains("already"));
        let directory = args.clone();
        let more = HostsArgs { hosts: vec!["10.0.0.4".into()], directory };
        add(&more).unwrap();
        assert!(add(&more).unwrap_err().contains("already"));
        assert_eq!(key_files(&args.dir).unwrap().len(), 4);
        fs::remove_dir_all(args.dir).unwrap();
    }

    #[test]
    fn a_rotation_trusts_one_former_authority() {
        let args = scratch("rotate");
        make(&args, &["a:1".into()]).unwrap();
        let path = args.dir.join("a_1.keys");
        let trusted = || KeyFile::read(&path).unwrap().trusted;
        let first = trusted();
        rotate(&args).unwrap();
        let second = trusted();
        assert_eq!((first.len(), second.len()), (1, 2));
        assert_eq!(second[1], first[0]);
        rotate(&args).unwrap();
        let third = trusted();
        assert_eq!((third.len(), &third[1]), (2, &second[0]));
        assert!(KeyFile::read(&path).unwrap().valid_until().is_some());
        fs::remove_dir_all(args.dir).unwrap();
    }

    #[test]
    fn expired_keys_are_not_valid() {
        let args = DirectoryArgs { valid_for: Duration::ZERO, ..scratch("expired") };
        make(&args, &["a:1".into()]).unwrap();
        std::thread::sleep(Duration::from_millis(1100));
        let path = args.dir.join("a_1.keys");
        assert_eq!(KeyFile::read(&path).unwrap().valid_until(), None);
        assert!(describe(&path).unwrap().contains("NOT VALID"));
        fs::remove_dir_all(args.dir).unwrap();
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        for text in
            [&b""[..], b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(KeyFile::parse(text).is_err());
        }
    }
}
