//! The user that a server runs as (`--user`): its names, and the numbers that this host has for
//! them. All are part of the base, because a server sees them, and what it may read and write
//! depends on them.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, User, getgrouplist};
use serde::{Deserialize, Serialize};

/// A user of this host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ServerUser {
    /// The user's name.
    pub(crate) name: String,
    /// The user's number.
    pub(crate) user: u32,
    /// The number of the group.
    pub(crate) group: u32,
    /// The numbers of all groups, sorted.
    pub(crate) groups: Vec<u32>,
    /// The home directory.
    pub(crate) home: PathBuf,
}

impl ServerUser {
    /// Finds a user by `NAME` or `NAME:GROUP`. Without a group, it is the user's own.
    ///
    /// # Errors
    /// Names what this host does not know, or that the caller may not start programs as others.
    pub(crate) fn find(given: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err(format!(
                "--user {given}: only root starts a server as another user; run crane-linux as \
                 root, or as this user without --user"
            ));
        }
        Self::look_up(given)
    }

    fn look_up(given: &str) -> Result<Self, String> {
        let (name, group) = match given.split_once(':') {
            Some((name, group)) => (name, Some(group)),
            None => (given, None),
        };
        let failed = |what: &str, why: String| format!("--user {given}: {what}: {why}");
        let unknown = |what: &str| {
            format!(
                "--user {given}: this host has no {what}; make it with the same number on all \
                 hosts (useradd --system --uid N, groupadd --gid N), or name another"
            )
        };
        let user = User::from_name(name).map_err(|error| failed("user", error.to_string()))?;
        let user = user.ok_or_else(|| unknown(&format!("user {name:?}")))?;
        let number = match group {
            None => user.gid,
            Some(group) => {
                let found = Group::from_name(group);
                let found = found.map_err(|error| failed("group", error.to_string()))?;
                found.ok_or_else(|| unknown(&format!("group {group:?}")))?.gid
            }
        };
        let word = CString::new(name).map_err(|_| unknown("such name"))?;
        let groups = getgrouplist(&word, number);
        let groups = groups.map_err(|error| failed("its groups", error.to_string()))?;
        let mut groups: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(Self {
            name: name.to_string(),
            user: user.uid.as_raw(),
            group: number.as_raw(),
            groups,
            home: user.dir,
        })
    }

    /// Returns what all hosts must have alike, by name.
    pub(crate) fn parts(&self) -> [(String, String); 4] {
        let Self { name, user, group, groups, home: _ } = self;
        let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
        [
            ("--user".to_string(), name.clone()),
            (format!("number of user {name}"), user.to_string()),
            (format!("number of the group of user {name}"), group.to_string()),
            (format!("numbers of all groups of user {name}"), groups.join(",")),
        ]
    }

    /// Puts the user's variables in the place of the caller's.
    pub(crate) fn put_in(&self, environment: &mut Vec<(String, String)>) {
        let home = self.home.to_string_lossy().into_owned();
        for (name, value) in [("HOME", home), ("USER", self.name.clone())] {
            environment.retain(|(known, _)| known != name);
            environment.push((name.to_string(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_its_groups_and_another_group_takes_their_first_place() {
        let root = ServerUser::look_up("root").unwrap();
        assert_eq!((root.user, root.group, root.home.to_str()), (0, 0, Some("/root")));
        assert!(root.groups.contains(&0) && root.groups.is_sorted());
        let daemon = ServerUser::look_up("root:daemon").unwrap();
        assert_eq!((daemon.user, daemon.group), (0, 1));
        assert!(daemon.groups.contains(&1));
        let mut environment = vec![("HOME".into(), "/x".into()), ("LANG".into(), "C".into())];
        root.put_in(&mut environment);
        environment.sort();
        let word = |name: &str, value: &str| (name.to_string(), value.to_string());
        let expected = [word("HOME", "/root"), word("LANG", "C"), word("USER", "root")];
        assert_eq!(environment, expected);
    }

    #[test]
    fn unknown_names_are_named() {
        let why = ServerUser::look_up("no-such-user").unwrap_err();
        assert!(why.contains("no user \"no-such-user\""), "{why}");
        let why = ServerUser::look_up("root:no-such-group").unwrap_err();
        assert!(why.contains("no group \"no-such-group\""), "{why}");
    }
}
