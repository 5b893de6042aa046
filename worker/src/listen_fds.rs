//! The variables by which systemd passes descriptors, `sd_listen_fds(3)`: `LISTEN_FDS` is their
//! count, from descriptor 3 up; `LISTEN_PID` is the process they are for; `LISTEN_FDNAMES` has their
//! names.

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

/// The values of the variables, not parsed yet.
#[derive(Default)]
pub(crate) struct Variables {
    fds: Option<OsString>,
    pid: Option<OsString>,
    pidfdid: Option<OsString>,
    names: Option<OsString>,
}

/// What the variables mean for this process.
#[derive(Debug)]
pub(crate) enum Passed {
    /// No descriptors are passed.
    Nothing,
    /// The descriptors are for another process: the value of `LISTEN_PID`.
    ToOther(u32),
    /// The descriptors are for this process.
    ToUs(ListenFds),
}

/// The descriptors passed to this process.
#[derive(Debug)]
pub(crate) struct ListenFds {
    /// From 0 to `RawFd::MAX - 3`, so that every number is a descriptor's.
    pub(crate) count: RawFd,
    /// The value of `LISTEN_FDNAMES`, checked: it has `count` names.
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
    pub(crate) fn new(
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

    /// Checks `LISTEN_PID` first; the other variables are not parsed if they are for another
    /// process. As in libsystemd, `LISTEN_FDS` without `LISTEN_PID` passes nothing.
    pub(crate) fn passed(self) -> Result<Passed, Error> {
        let (Some(fds), Some(pid)) = (self.fds, self.pid) else {
            return Ok(Passed::Nothing);
        };
        let Some(number) = decimal::<u32>(pid.as_bytes()).filter(|&number| number > 0) else {
            return Err(wrong("LISTEN_PID", pid, "the number of a process"));
        };
        if number != process::id() {
            return Ok(Passed::ToOther(number));
        }
        // The pid may have been reused. If the kernel gives no pidfd id, the pid alone decides.
        if let Some(pidfdid) = self.pidfdid {
            let Some(id) = decimal::<u64>(pidfdid.as_bytes()) else {
                return Err(wrong(
                    "LISTEN_PIDFDID",
                    pidfdid,
                    "the inode number of a pidfd",
                ));
            };
            if sys::pidfd::own_id().is_some_and(|own| own != id) {
                return Ok(Passed::ToOther(number));
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
    /// The descriptors. Lazy: `LISTEN_FDS` may count far more than are open.
    pub(crate) fn fds(&self) -> impl Iterator<Item = RawFd> + use<> {
        FIRST..FIRST + self.count
    }

    pub(crate) fn contains(&self, fd: RawFd) -> bool {
        (FIRST..FIRST + self.count).contains(&fd)
    }

    /// The name of a descriptor. `None` if `LISTEN_FDNAMES` is not set, or the name is empty.
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
        let expected = format!("{count} names separated by colons, as LISTEN_FDS={count} requires");
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
    fn descriptors_are_counted_from_3_and_named_in_order() {
        let passed = to_us(for_us("3", Some("web::b")));
        assert_eq!(passed.fds().collect::<Vec<_>>(), [3, 4, 5]);
        let names: Vec<_> = (2..7).map(|fd| passed.name(fd)).collect();
        assert_eq!(
            names,
            [None, Some("web".into()), None, Some("b".into()), None]
        );
        assert!(passed.contains(5) && !passed.contains(6) && !passed.contains(2));
        assert_eq!(to_us(for_us("1", None)).name(3), None);
        assert_eq!(to_us(for_us("1", Some(""))).name(3), None);
        assert_eq!(to_us(for_us("0", Some(""))).fds().count(), 0);
    }

    #[test]
    fn names_of_another_count_are_refused() {
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
    fn count_with_other_characters_than_digits_or_out_of_range_is_refused() {
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
        // The largest count; the iterator allocates nothing.
        assert_eq!(
            to_us(for_us("2147483644", None)).fds().last(),
            Some(RawFd::MAX - 1)
        );
    }

    #[test]
    fn variables_for_another_process_are_not_parsed() {
        let mut variables = for_us("garbage", Some("a:b:c"));
        variables.pid = Some("1".into());
        assert!(matches!(variables.passed(), Ok(Passed::ToOther(1))));
    }

    #[test]
    fn nothing_is_passed_without_listen_pid() {
        let mut variables = for_us("1", None);
        variables.pid = None;
        assert!(matches!(variables.passed(), Ok(Passed::Nothing)));
        assert!(matches!(Variables::default().passed(), Ok(Passed::Nothing)));
    }

    #[test]
    fn malformed_pid_is_refused() {
        for pid in ["", "0", "-1", "1x", "4294967296"] {
            let mut variables = for_us("1", None);
            variables.pid = Some(pid.into());
            let message = refused(variables);
            let expected = format!("LISTEN_PID={pid}: this is not the number of a process");
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn pidfd_id_of_another_process_is_not_ours() {
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
                assert!(matches!(other.passed(), Ok(Passed::ToOther(_))));
            }
            None => {
                to_us(with("1"));
            }
        }
    }
}
