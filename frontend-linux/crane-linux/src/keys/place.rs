//! Where the key file of this host is, and what to do without one.

use std::path::{Path, PathBuf};

use crate::base::DEFAULT_DIRECTORY;

/// The variable of the environment that names the key file.
const VARIABLE: &str = "CRANE_KEYS";
/// The name of the key file in the default directory.
const NAME: &str = "host.keys";
/// The directory that `crane-linux keys` writes by default.
pub(crate) const KEYS_DIRECTORY: &str = "crane-keys";
/// The end of the names of key files.
pub(crate) const EXTENSION: &str = "keys";

/// Returns the key file: the one that is given, or that of the environment, or that of the working
/// directory if it is there.
pub(crate) fn find(given: Option<&Path>) -> Option<PathBuf> {
    let named = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = || Some(usual_place()).filter(|path| path.exists());
    given.map(Path::to_path_buf).or_else(named).or_else(usual)
}

/// Returns the place of the key file if none is given.
pub(crate) fn usual_place() -> PathBuf {
    Path::new(DEFAULT_DIRECTORY).join(NAME)
}

/// Returns the name of the key file of a member, in the directory that `crane-linux keys` writes:
/// its host, and its port if that is not `port`.
pub(crate) fn file_name(member: &str, port: u16) -> String {
    let (host, own_port) = member.rsplit_once(':').unwrap_or((member, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match own_port == port.to_string() {
        true => format!("{host}.{EXTENSION}"),
        false => format!("{host}_{own_port}.{EXTENSION}"),
    }
}

/// Returns the two commands after which hosts that have no keys can start, for people.
pub(crate) fn two_commands(members: &[String], port: u16) -> String {
    let place = std::env::current_dir().unwrap_or_default().join(usual_place());
    let stems: Vec<String> = members
        .iter()
        .map(|member| {
            file_name(member, port).trim_end_matches(&format!(".{EXTENSION}")).to_string()
        })
        .collect();
    let plain = members.iter().map(|member| {
        let usual = format!(":{port}");
        member.strip_suffix(&usual).unwrap_or(member).to_string()
    });
    let plain: Vec<String> = plain.collect();
    format!(
        "    crane-linux keys init {}\n    for host in {}; do ssh \"${{host%_*}}\" 'install -D -m \
         600 /dev/stdin {}' <{KEYS_DIRECTORY}/\"$host\".{EXTENSION}; done",
        plain.join(" "),
        stems.join(" "),
        place.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_commands_name_these_hosts() {
        let members = ["10.0.0.1:6790".to_string(), "[fd00::2]:7".into(), "c:6790".into()];
        let text = two_commands(&members, 6790);
        assert!(text.contains("keys init 10.0.0.1 [fd00::2]:7 c\n"), "{text}");
        assert!(text.contains("for host in 10.0.0.1 fd00::2_7 c; do"), "{text}");
        assert!(text.contains("/.crane/host.keys'"), "{text}");
        assert_eq!(file_name("[fd00::2]:7", 6790), "fd00::2_7.keys");
    }
}
