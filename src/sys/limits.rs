//! How many files may be open, RLIMIT_NOFILE of getrlimit(2).
//!
//! The supervisor raises its own soft limit to the hard one, once, at start: one descriptor for each
//! socket, and one for each generation that still drains, of which there may be a thousand, is nothing
//! that could be known then. Programs that it starts get the old limit back, for a soft limit is a
//! promise to those that use select(2), which is lost beyond 1024, or that close every number below it.

use std::os::fd::RawFd;
use std::sync::OnceLock;

/// More descriptors than a supervisor ever has open for itself, its workers' lines aside; and enough
/// for a program to start.
pub(crate) const ROOM: RawFd = 16;

/// No soft limit is raised beyond this. To use a number the kernel makes a table up to it, and
/// `--port=80=1000000000` would have it make one of 8 GB, where the hard limit is that high.
const ENOUGH: u64 = 1 << 20;

/// What [`raise`] has done; never undone.
static RAISED: OnceLock<Raised> = OnceLock::new();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Raised {
    from: u64,
    to: u64,
}

/// Raises the soft limit, as far as that goes.
pub(crate) fn raise() {
    let Some(mut limit) = get() else { return };
    let (from, to) = (limit.soft, limit.hard.min(ENOUGH));
    if from >= to {
        return;
    }
    limit.soft = to;
    if set(&limit) {
        let _ = RAISED.set(Raised { from, to }); // the first is the one to give back
    }
}

/// What the soft limit was before [`raise`], for the next program in this process; none: the same, or
/// somebody has changed it meanwhile, and what they want for workers stays, see [`Allowance::take`].
pub(crate) fn raised_from() -> Option<u64> {
    let raised = RAISED.get()?;
    let untouched = get().is_none_or(|limit| limit.soft == raised.to);
    untouched.then_some(raised.from)
}

/// As if [`raise`] had been called in this program, when it was in the one before it, in the same
/// process.
pub(crate) fn was_raised(from: Option<u64>) {
    if let (Some(from), Some(limit)) = (from, get()) {
        let to = limit.soft;
        let _ = RAISED.set(Raised { from, to });
    }
}

/// The first number that cannot be opened. If that cannot be told, whoever opens it will see.
pub(crate) fn first_beyond() -> RawFd {
    let soft = get().and_then(|limit| RawFd::try_from(limit.soft).ok());
    soft.unwrap_or(RawFd::MAX)
}

/// The soft limit of a program to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    raised: Raised,
    soft: u64,
}

impl Allowance {
    /// Of a program that keeps these descriptors. None: ours, which has never been another.
    pub(crate) fn of(keep: &[RawFd]) -> Option<Allowance> {
        RAISED.get().map(|raised| raised.allow(keep))
    }

    /// The limit that we were started with, and the one that it is to have, if that is another.
    pub(crate) fn difference(self) -> Option<(u64, u64)> {
        let (before, now) = (self.raised.from, self.soft);
        (before != now).then_some((before, now))
    }

    /// Makes it the limit of this process. One that has been changed meanwhile, prlimit(1), is what
    /// somebody wants for workers to come, and stays. For a forked child: allocates nothing.
    pub(super) fn take(self) {
        let Some(mut limit) = get() else { return };
        if limit.soft == self.raised.to {
            limit.soft = self.soft.min(limit.hard);
            set(&limit); // lowers it, which is always allowed
        }
    }
}

impl Raised {
    /// The old limit, if enough numbers below it are free. With none no program could be loaded, nor
    /// accept a connection: then as many as before, above its sockets.
    fn allow(self, keep: &[RawFd]) -> Allowance {
        let number = |fd: &RawFd| u64::try_from(*fd).unwrap_or(0);
        let taken = keep.iter().map(number);
        let taken = taken.filter(|fd| (3..self.from).contains(fd)).count() + 3;
        let above = keep.iter().map(|fd| number(fd) + 1).max().unwrap_or(0);
        let enough = self.from >= (taken + ROOM as usize) as u64;
        let soft = if enough { self.from } else { self.from + above };
        Allowance {
            raised: self,
            soft: soft.min(self.to),
        }
    }
}

/// A struct rlimit, whose numbers are of another size on other machines.
struct Limit {
    soft: u64,
    hard: u64,
}

#[allow(clippy::useless_conversion)] // not on machines of 32 bits
fn get() -> Option<Limit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes to our structure.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    (got == 0).then(|| Limit {
        soft: limit.rlim_cur.into(),
        hard: limit.rlim_max.into(),
    })
}

/// Says whether that was allowed.
#[allow(clippy::useless_conversion, irrefutable_let_patterns)] // not on machines of 32 bits
fn set(limit: &Limit) -> bool {
    let (Ok(rlim_cur), Ok(rlim_max)) = (limit.soft.try_into(), limit.hard.try_into()) else {
        return false;
    };
    let limit = libc::rlimit { rlim_cur, rlim_max };
    // SAFETY: reads our structure.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(from: u64, to: u64, keep: impl IntoIterator<Item = RawFd>) -> u64 {
        let keep = Vec::from_iter(keep);
        Raised { from, to }.allow(&keep).soft
    }

    #[test]
    fn the_old_limit_while_there_is_room_below_it() {
        assert_eq!(soft(1024, 4096, []), 1024);
        assert_eq!(soft(1024, 4096, 3..1008), 1024);
        assert_eq!(soft(64, 4096, [500]), 64, "numbers below are free");
        assert_eq!(soft(0, 4096, []), 0, "it was as useless before");
    }

    #[test]
    fn else_as_much_as_before_above_the_sockets() {
        assert_eq!(soft(1024, 4096, 3..1009), 1024 + 1009);
        assert_eq!(soft(64, 4096, 3..203), 64 + 203);
        assert_eq!(soft(64, 220, 3..203), 220, "and no more than there is");
    }
}
