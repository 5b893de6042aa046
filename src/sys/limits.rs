//! The limit of open files, RLIMIT_NOFILE of getrlimit(2).
//!
//! The supervisor raises its soft limit to the hard limit, once, at start: it needs a descriptor for each
//! socket and for each generation that drains, and cannot know how many those will be. Programs that it
//! starts get the old soft limit back: programs that use select(2) fail beyond 1024, and some close every
//! number below the limit.

use std::os::fd::RawFd;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The number of descriptors that the supervisor needs for itself, without notification sockets, and that
/// a program needs to start.
pub(crate) const RESERVED_FDS: RawFd = 16;

/// The soft limit is not raised beyond this. The kernel allocates a table up to the highest number in use:
/// with a hard limit that allows it, `--port=80=1000000000` would take 8 GB.
const MAX_SOFT_LIMIT: u64 = 1 << 20;

/// What [`raise`] has changed. It is not undone.
static RAISED: OnceLock<Raised> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raised {
    from: u64,
    to: u64,
}

/// Raises the soft limit as far as possible.
pub(crate) fn raise() {
    let Some(mut limit) = get() else { return };
    let (from, to) = (limit.soft, limit.hard.min(MAX_SOFT_LIMIT));
    if from >= to {
        return;
    }
    limit.soft = to;
    if set(&limit) {
        let _ = RAISED.set(Raised { from, to }); // a second call does not change the old limit
    }
}

/// The soft limit before [`raise`], to be saved for the next program in this process. `None` if it was not
/// raised, or was changed since, prlimit(1): then workers get the changed limit, see [`ChildLimit::apply`].
pub(crate) fn raised_from() -> Option<u64> {
    let raised = RAISED.get()?;
    let unchanged = get().is_none_or(|limit| limit.soft == raised.to);
    unchanged.then_some(raised.from)
}

/// Records that the previous program in this process has raised the limit, `from` being its
/// [`raised_from`].
pub(crate) fn resume(from: Option<u64>) {
    if let (Some(from), Some(limit)) = (from, get()) {
        let to = limit.soft;
        let _ = RAISED.set(Raised { from, to });
    }
}

/// The soft limit: the lowest number that cannot be opened. `RawFd::MAX` if it is unknown or higher.
pub(crate) fn soft_limit() -> RawFd {
    let soft = get().and_then(|limit| RawFd::try_from(limit.soft).ok());
    soft.unwrap_or(RawFd::MAX)
}

/// The soft limit of a program that the supervisor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChildLimit {
    raised: Raised,
    soft: u64,
}

impl ChildLimit {
    /// The limit of a program that keeps these descriptors. `None` if the limit was not raised: the program
    /// then has that of the supervisor.
    pub(crate) fn of(keep: &[RawFd]) -> Option<ChildLimit> {
        RAISED.get().map(|raised| raised.child_limit(keep))
    }

    /// The limit that the supervisor was started with, and that of the program. `None` if they are the same.
    pub(crate) fn difference(self) -> Option<(u64, u64)> {
        let (before, now) = (self.raised.from, self.soft);
        (before != now).then_some((before, now))
    }

    /// Sets the limit of this process, a forked child. A limit that was changed since it was raised,
    /// prlimit(1), is kept: it was set for later workers. Allocates nothing.
    pub(super) fn apply(self) {
        let Some(mut limit) = get() else { return };
        if limit.soft == self.raised.to {
            limit.soft = self.soft.min(limit.hard);
            set(&limit); // lowers it, which is always allowed
        }
    }
}

impl Raised {
    /// The old limit, if enough numbers below it are free. Otherwise no program could be loaded or accept a
    /// connection: then the limit leaves as many numbers as before above the highest socket.
    fn child_limit(self, keep: &[RawFd]) -> ChildLimit {
        let number = |fd: &RawFd| u64::try_from(*fd).unwrap_or(0);
        let taken = keep.iter().map(number);
        let taken = taken.filter(|fd| (3..self.from).contains(fd)).count() + 3;
        let above = keep.iter().map(|fd| number(fd) + 1).max().unwrap_or(0);
        let enough = self.from >= (taken + RESERVED_FDS as usize) as u64;
        let soft = if enough { self.from } else { self.from + above };
        ChildLimit {
            raised: self,
            soft: soft.min(self.to),
        }
    }
}

struct Limit {
    soft: u64,
    hard: u64,
}

#[allow(clippy::useless_conversion)] // `rlim_t` has 32 bits on some machines
fn get() -> Option<Limit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let (soft, hard) = (soft.into(), hard.into());
    Some(Limit { soft, hard })
}

/// Returns whether the kernel allowed it.
#[allow(clippy::useless_conversion, irrefutable_let_patterns)] // `rlim_t` has 32 bits on some machines
fn set(limit: &Limit) -> bool {
    let (Ok(soft), Ok(hard)) = (limit.soft.try_into(), limit.hard.try_into()) else {
        return false;
    };
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(from: u64, to: u64, keep: impl IntoIterator<Item = RawFd>) -> u64 {
        let keep = Vec::from_iter(keep);
        Raised { from, to }.child_limit(&keep).soft
    }

    #[test]
    fn child_has_the_old_limit_if_enough_numbers_below_it_are_free() {
        assert_eq!(soft(1024, 4096, []), 1024);
        assert_eq!(soft(1024, 4096, 3..1008), 1024);
        assert_eq!(soft(64, 4096, [500]), 64, "numbers below are free");
        assert_eq!(
            soft(0, 4096, []),
            0,
            "no program could start before, either"
        );
    }

    #[test]
    fn child_has_as_many_numbers_as_before_above_its_sockets_if_too_few_are_free() {
        assert_eq!(soft(1024, 4096, 3..1009), 1024 + 1009);
        assert_eq!(soft(64, 4096, 3..203), 64 + 203);
        assert_eq!(
            soft(64, 220, 3..203),
            220,
            "the raised limit is the maximum"
        );
    }
}
