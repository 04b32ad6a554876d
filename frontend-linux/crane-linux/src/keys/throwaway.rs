//! The keys of a group on one machine (`--local`), which nobody copies anywhere.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use crate::cell::upper;
use crate::options::PEER_PORT;

use super::authority::Authority;
use super::file::{KeyFile, write_secret};
use super::place::file_name;
use super::subject::Subject;

const VALID_FOR: Duration = Duration::from_secs(365 * 24 * 3600);
/// Keys that end within this time are made anew.
const SPARE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Makes the key files of these members in a directory, unless they are there: a replica of before
/// may still run. The authority's own key is not kept, so that nobody else joins.
///
/// # Errors
/// Returns the system's error.
pub(crate) fn make(directory: &Path, members: &[String]) -> Result<(), String> {
    let path = |member: &String| directory.join(file_name(member, PEER_PORT));
    if members.iter().all(|member| is_usable(&path(member))) {
        return Ok(());
    }
    let describe = |error| upper::describe(directory, &error);
    upper::remove(directory)?;
    DirBuilder::new().mode(0o700).create(directory).map_err(describe)?;
    let authority = Authority::new(VALID_FOR)?;
    for member in members {
        let text = authority.issue(&Subject::Member(member.clone()), VALID_FOR)?;
        write_secret(&path(member), &text)?;
    }
    Ok(())
}

fn is_usable(path: &Path) -> bool {
    let file = path.exists().then(|| KeyFile::read(path).ok()).flatten();
    let until = file.and_then(|file| file.valid_until());
    until.is_some_and(|until| until.elapsed().is_err_and(|left| left.duration() > SPARE))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn keys_stay_until_another_member_needs_some() {
        let directory = std::env::temp_dir().join(format!("crane-local-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let members = ["127.0.0.1:6790".to_string(), "127.0.0.2:6790".into()];
        make(&directory, &members).unwrap();
        let text = || fs::read(directory.join("127.0.0.1.keys")).unwrap();
        let first = text();
        make(&directory, &members[..1]).unwrap();
        assert_eq!(text(), first);
        make(&directory, &[members[0].clone(), "127.0.0.3:6790".into()]).unwrap();
        assert_ne!(text(), first, "one authority for all");
        assert!(!directory.join("authority.keys").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
