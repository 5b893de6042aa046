//! systemd's way to hand descriptors over, `sd_listen_fds(3)`: `LISTEN_FDS` of them, from 3 up,
//! for the process `LISTEN_PID`, with the names `LISTEN_FDNAMES`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process;

use crate::environment::decimal;
use crate::error::Error;
use crate::sys;

/// `SD_LISTEN_FDS_START`
const FIRST: RawFd = 3;

/// The variables as they are.
#[derive(Default)]
pub(crate) struct Variables {
    fds: Option<OsString>,
    pid: Option<OsString>,
    pidfdid: Option<OsString>,
    names: Option<OsString>,
}

/// What they mean for this process.
#[derive(Debug)]
pub(crate) enum Passed {
    /// Nothing was passed.
    Nothing,
    /// What was passed is for that process.
    To(u32),
    /// It is for us.
    ToUs(ListenFds),
}

/// What was passed to us.
#[derive(Debug)]
pub(crate) struct ListenFds {
    /// Not more than there are numbers for descriptors.
    pub(crate) count: RawFd,
    /// As many as `count`, if any.
    names: Option<OsString>,
}

impl Variables {
    pub(crate) fn from_environment() -> Self {
        Self {
            fds: env::var_os("LISTEN_FDS"),
            pid: env::var_os("LISTEN_PID"),
            pidfdid: env::var_os("LISTEN_PIDFDID"),
            names: env::var_os("LISTEN_FDNAMES"),
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn with(
        fds: Option<OsString>,
        pid: Option<OsString>,
        pidfdid: Option<OsString>,
        names: Option<OsString>,
    ) -> Self {
        Self {
            fds,
            pid,
            pidfdid,
            names,
        }
    }

    /// Whose they are comes first: of what is for another process, nothing else is read. Like
    /// libsystemd, without a `LISTEN_PID` they are nobody's.
    pub(crate) fn passed(self) -> Result<Passed, Error> {
        let (Some(fds), Some(pid)) = (self.fds, self.pid) else {
            return Ok(Passed::Nothing);
        };
        let Some(number) = decimal::<u32>(pid.as_bytes()).filter(|&number| number > 0) else {
            return Err(wrong("LISTEN_PID", pid, "the number of a process"));
        };
        if number != process::id() {
            return Ok(Passed::To(number));
        }
        // The same number, but perhaps given anew. Where we cannot know, the number has to do.
        if let Some(pidfdid) = self.pidfdid {
            let Some(id) = decimal::<u64>(pidfdid.as_bytes()) else {
                return Err(wrong(
                    "LISTEN_PIDFDID",
                    pidfdid,
                    "the inode number of a pidfd",
                ));
            };
            if sys::pidfd::own_id().is_some_and(|own| own != id) {
                return Ok(Passed::To(number));
            }
        }
        let Some(count) =
            decimal::<RawFd>(fds.as_bytes()).filter(|n| n.checked_add(FIRST).is_some())
        else {
            return Err(wrong("LISTEN_FDS", fds, "a number of descriptors"));
        };
        let passed = ListenFds {
            count,
            names: self.names,
        };
        passed.check_names()?;
        Ok(Passed::ToUs(passed))
    }
}

impl ListenFds {
    /// The descriptors. Nothing is kept for them yet: how many there are is only a claim.
    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> + use<> {
        FIRST..FIRST + self.count
    }

    pub(crate) fn include(&self, fd: RawFd) -> bool {
        (FIRST..FIRST + self.count).contains(&fd)
    }

    /// The name of a descriptor, unless there are no names, or it is empty.
    pub(crate) fn name(&self, fd: RawFd) -> Option<OsString> {
        let index = usize::try_from(fd.checked_sub(FIRST)?).ok()?;
        let name = names(self.names.as_deref()?).nth(index)?;
        Some(OsString::from_vec(name.to_vec())).filter(|name| !name.is_empty())
    }

    fn check_names(&self) -> Result<(), Error> {
        let Some(value) = &self.names else {
            return Ok(());
        };
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        if names(value).count() == count || (value.is_empty() && count == 0) {
            return Ok(());
        }
        let expected =
            format!("{count} names with colons between them, as LISTEN_FDS={count} says");
        Err(wrong("LISTEN_FDNAMES", value.clone(), &expected))
    }
}

fn names(value: &OsStr) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b':')
}

fn wrong(name: &'static str, value: OsString, expected: &str) -> Error {
    Error::Variable {
        name,
        value,
        expected: expected.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_us(fds: &str, names: Option<&str>) -> Variables {
        Variables {
            fds: Some(fds.into()),
            pid: Some(process::id().to_string().into()),
            pidfdid: None,
            names: names.map(OsString::from),
        }
    }

    #[track_caller]
    fn to_us(variables: Variables) -> ListenFds {
        match variables.passed() {
            Ok(Passed::ToUs(fds)) => fds,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refused(variables: Variables) -> String {
        variables.passed().expect_err("an error").to_string()
    }

    #[test]
    fn numbers_and_names() {
        let passed = to_us(for_us("3", Some("web::b")));
        assert_eq!(passed.fds().collect::<Vec<_>>(), [3, 4, 5]);
        let names: Vec<_> = (2..7).map(|fd| passed.name(fd)).collect();
        assert_eq!(
            names,
            [None, Some("web".into()), None, Some("b".into()), None]
        );
        assert!(passed.include(5) && !passed.include(6) && !passed.include(2));
        assert_eq!(to_us(for_us("1", None)).name(3), None);
        assert_eq!(to_us(for_us("1", Some(""))).name(3), None);
        assert_eq!(to_us(for_us("0", Some(""))).fds().count(), 0);
    }

    #[test]
    fn as_many_names_as_descriptors() {
        for (fds, names) in [
            ("2", "web"),
            ("2", "a:b:c"),
            ("2", ""),
            ("0", "a"),
            ("2147483644", "a"),
        ] {
            let message = refused(for_us(fds, Some(names)));
            let expected = format!("LISTEN_FDNAMES={names}: this is not {fds} names");
            assert!(message.starts_with(&expected), "{message}");
        }
    }

    #[test]
    fn a_count_is_digits_and_fits() {
        for count in [
            "",
            "x",
            "-1",
            "+1",
            " 1",
            "1.0",
            "2147483645",
            "99999999999999999999",
        ] {
            let message = refused(for_us(count, None));
            let expected = format!("LISTEN_FDS={count}: this is not a number of descriptors");
            assert_eq!(message, expected);
        }
        // As many as there can be, and nothing is kept for them.
        assert_eq!(
            to_us(for_us("2147483644", None)).fds().last(),
            Some(RawFd::MAX - 1)
        );
    }

    #[test]
    fn what_is_for_another_process_is_not_read() {
        let mut variables = for_us("garbage", Some("a:b:c"));
        variables.pid = Some("1".into());
        assert!(matches!(variables.passed(), Ok(Passed::To(1))));
    }

    #[test]
    fn without_a_pid_it_is_for_nobody() {
        let mut variables = for_us("1", None);
        variables.pid = None;
        assert!(matches!(variables.passed(), Ok(Passed::Nothing)));
        assert!(matches!(Variables::default().passed(), Ok(Passed::Nothing)));
    }

    #[test]
    fn a_pid_is_a_pid() {
        for pid in ["", "0", "-1", "1x", "4294967296"] {
            let mut variables = for_us("1", None);
            variables.pid = Some(pid.into());
            let message = refused(variables);
            let expected = format!("LISTEN_PID={pid}: this is not the number of a process");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn the_pidfd_tells_processes_of_the_same_number_apart() {
        let with = |id: &str| {
            let mut variables = for_us("1", None);
            variables.pidfdid = Some(id.into());
            variables
        };
        assert!(refused(with("x")).starts_with("LISTEN_PIDFDID=x: "));
        match sys::pidfd::own_id() {
            Some(own) => {
                to_us(with(&own.to_string()));
                let other = with(&(own + 1).to_string());
                assert!(matches!(other.passed(), Ok(Passed::To(_))));
            }
            None => {
                to_us(with("1"));
            }
        }
    }
}
