//! Users and groups as they are written in options, by name or number, passwd(5) and group(5).

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// The user and groups that a worker runs as, credentials(7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user id.
    pub user: u32,
    /// The group id.
    pub group: u32,
    /// The supplementary group ids.
    pub groups: Vec<u32>,
    /// The entry of the user in passwd(5); `None` if there is none, or no user was named.
    pub account: Option<Account>,
}

/// An entry of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name of the user.
    pub name: OsString,
    /// The home directory.
    pub home: PathBuf,
    /// The shell.
    pub shell: PathBuf,
}

impl Identity {
    /// The identity for `--user` and `--group`; `None` if neither is given. A user comes with its groups, of
    /// which `group` replaces the primary one. Without a user, only the group changes.
    ///
    /// # Errors
    /// There is no such user or group, or it cannot be looked up; or `user` is a number without an entry in
    /// passwd(5), and `group` is missing. A sentence fragment that names the option.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, String> {
        let group = group
            .map(|group| find_group(group).map_err(|why| format!("--group={group}: {why}")))
            .transpose()?;
        match user {
            Some(user) => Identity::of_user(user, group).map(Some),
            None => Ok(group.map(|group| Identity::bare(Uid::effective().as_raw(), group))),
        }
    }

    fn of_user(user: &str, group: Option<u32>) -> Result<Identity, String> {
        // Only a number is looked up by number: two names may have the same one.
        let number = user.parse().ok();
        let looked_up = match number {
            Some(number) => User::from_uid(Uid::from_raw(number)),
            None => User::from_name(user),
        };
        if let (Ok(None), Some(number)) = (&looked_up, number) {
            let group = group.ok_or_else(|| {
                format!("--user={user}: no user has this number, so --group is needed as well")
            })?;
            return Ok(Identity::bare(number, group));
        }
        let entry = found(looked_up, "user").map_err(|why| format!("--user={user}: {why}"))?;
        Identity::with_groups(entry, group)
            .map_err(|why| format!("--user={user}: cannot look up its groups: {why}"))
    }

    fn with_groups(entry: User, group: Option<u32>) -> nix::Result<Identity> {
        let group = group.unwrap_or(entry.gid.as_raw());
        let name = CString::new(entry.name.as_str()).unwrap_or_default();
        let groups = getgrouplist(&name, Gid::from_raw(group))?;
        Ok(Identity {
            user: entry.uid.as_raw(),
            group,
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            account: Some(Account {
                name: entry.name.into(),
                home: entry.dir,
                shell: entry.shell,
            }),
        })
    }

    /// An identity without an entry in passwd(5).
    fn bare(user: u32, group: u32) -> Identity {
        Identity {
            user,
            group,
            groups: vec![group],
            account: None,
        }
    }
}

/// The id of a user, by name or number. A number is not looked up.
///
/// # Errors
/// There is no user of this name, or it cannot be looked up. A sentence fragment with the reason.
pub fn find_user(user: &str) -> Result<u32, String> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    found(User::from_name(user), "user").map(|entry| entry.uid.as_raw())
}

/// The id of a group, by name or number. A number is not looked up.
///
/// # Errors
/// There is no group of this name, or it cannot be looked up. A sentence fragment with the reason.
pub fn find_group(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    found(Group::from_name(group), "group").map(|entry| entry.gid.as_raw())
}

fn found<T>(looked_up: nix::Result<Option<T>>, what: &str) -> Result<T, String> {
    match looked_up {
        Ok(Some(entry)) => Ok(entry),
        Ok(None) => Err(format!("no such {what}")),
        Err(errno) => {
            let why = std::io::Error::from(errno);
            Err(format!("cannot look up the {what}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_group_are_found_by_name_and_by_number() {
        assert_eq!(Identity::find(None, None), Ok(None));
        let root = Identity::find(Some("root"), None).unwrap().unwrap();
        assert_eq!((root.user, root.group), (0, 0));
        assert!(root.groups.contains(&0));
        assert_eq!(root.account.unwrap().name, "root");
        let same = Identity::find(Some("0"), Some("root")).unwrap().unwrap();
        assert_eq!((same.user, same.group), (0, 0));
        let other = Identity::find(Some("root"), Some("4242")).unwrap().unwrap();
        assert_eq!((other.user, other.group), (0, 4242));
    }

    #[test]
    fn unknown_user_or_group_is_named_in_the_error() {
        let refused = |user, group| Identity::find(user, group).unwrap_err();
        let error = refused(Some("no-such-user"), None);
        assert_eq!(error, "--user=no-such-user: no such user");
        let error = refused(Some("4000000000"), None);
        assert!(error.contains("--group"), "{error}");
        let error = refused(None, Some("no-such-group"));
        assert_eq!(error, "--group=no-such-group: no such group");
        let bare = Identity::find(Some("4000000000"), Some("7"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (bare.user, bare.groups, bare.account),
            (4_000_000_000, vec![7], None)
        );
    }
}
