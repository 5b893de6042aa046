//! Users and groups, as people write them: by name or by number, passwd(5), group(5).

use std::ffi::{CString, OsString};
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// Who a worker is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// All its groups, credentials(7).
    pub groups: Vec<u32>,
    /// The user as the system knows it; none for a bare number.
    pub account: Option<Account>,
}

/// What belongs to a user with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: OsString,
    /// The home directory.
    pub home: PathBuf,
    /// The shell.
    pub shell: PathBuf,
}

impl Identity {
    /// The identity that `--user` and `--group` ask for; none if neither is given. A user comes with
    /// its groups, of which `group` replaces the first; without a user, only the group changes.
    ///
    /// # Errors
    /// There is no such user or group, or they cannot be looked up; a number that is no user's has
    /// no group of its own. A sentence fragment that names it.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, String> {
        let group = group
            .map(|group| find_group(group).map_err(|why| format!("--group={group}: {why}")))
            .transpose()?;
        let Some(user) = user else {
            return Ok(group.map(|group| Identity {
                user: Uid::effective().as_raw(),
                group,
                groups: vec![group],
                account: None,
            }));
        };
        // A name by its own entry: another one may have the same number.
        let number = user.parse().ok();
        let looked_up = match number {
            Some(number) => User::from_uid(Uid::from_raw(number)),
            None => User::from_name(user),
        };
        let known = match (looked_up, number) {
            (Ok(None), Some(number)) => {
                let group = group.ok_or_else(|| {
                    format!("--user={user}: no user has this number, so --group is needed as well")
                })?;
                return Ok(Some(Identity {
                    user: number,
                    group,
                    groups: vec![group],
                    account: None,
                }));
            }
            (looked_up, _) => {
                found(looked_up, "user").map_err(|why| format!("--user={user}: {why}"))?
            }
        };
        let group = group.unwrap_or(known.gid.as_raw());
        let name = CString::new(known.name.as_str()).unwrap_or_default();
        let groups = getgrouplist(&name, Gid::from_raw(group))
            .map_err(|errno| format!("--user={user}: cannot look up its groups: {errno}"))?;
        Ok(Some(Identity {
            user: known.uid.as_raw(),
            group,
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            account: Some(Account {
                name: known.name.into(),
                home: known.dir,
                shell: known.shell,
            }),
        }))
    }
}

/// The number of a user, by name or number.
///
/// # Errors
/// There is no user of this name, or it cannot be looked up.
pub fn find_user(user: &str) -> Result<u32, String> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    found(User::from_name(user), "user").map(|known| known.uid.as_raw())
}

/// The number of a group, by name or number.
///
/// # Errors
/// There is no group of this name, or it cannot be looked up.
pub fn find_group(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    found(Group::from_name(group), "group").map(|known| known.gid.as_raw())
}

fn found<T>(looked_up: nix::Result<Option<T>>, what: &str) -> Result<T, String> {
    match looked_up {
        Ok(Some(known)) => Ok(known),
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
    fn names_and_numbers() {
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
    fn what_there_is_not_is_named() {
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
