//! Sleeping until there is something to do.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::Supervisor;
use crate::control::Server;
use crate::error::why;
use crate::log;
use crate::machine::Time;

/// A breath, when the system does not even let us wait.
const POLL_BACKOFF: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Sleeps until there is news or a deadline.
    pub(super) fn wait(&mut self) {
        let now = self.now();
        let deadlines = [
            self.machine.deadline(),
            self.log.deadline(),
            self.notifier.deadline(),
            self.environment.deadline(now),
            self.status_retry,
            self.upgrade.deadline(),
            self.control.as_ref().and_then(Server::deadline),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let left = self.time_out(deadline, now);
        self.poll_fds(now, left);
    }

    /// Looks who has news, for so long at most that there is none; none: as long as it takes.
    pub(super) fn poll_fds(&mut self, now: Time, wait: Option<Duration>) {
        let pending = log::pending();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let writable = |fd| PollFd::new(fd, PollFlags::POLLOUT);
        let mut fds: Vec<PollFd<'_>> = self.notify_sockets.fds().map(readable).collect();
        let sockets = fds.len();
        let control = self.control.iter().flat_map(Server::fds);
        fds.extend(control.map(|(fd, events)| PollFd::new(fd, events)));
        let clients = fds.len() - sockets;
        fds.push(readable(self.signals.as_fd()));
        fds.extend(self.timer.as_ref().map(|timer| readable(timer.as_fd())));
        fds.extend(self.adopted.fds().map(readable));
        let shut_down = fds.len();
        fds.extend(self.reopener.fds().map(readable));
        let shut_down = shut_down..fds.len();
        fds.extend(self.environment.changes(now).map(readable));
        fds.extend(pending.as_ref().map(|pipe| writable(pipe.as_fd())));
        match ppoll(&mut fds, wait.map(TimeSpec::from), None) {
            Ok(_) => {
                let news = fds.iter().take(sockets + clients);
                let news: Vec<PollFlags> = news.map(flags).collect();
                let (of_sockets, of_clients) = news.split_at(sockets.min(news.len()));
                let shut_down = fds.get(shut_down).unwrap_or_default();
                self.sockets_shut_down |= shut_down.iter().any(|fd| !flags(fd).is_empty());
                self.notify_sockets.mark_ready(of_sockets.iter().copied());
                if let Some(server) = &mut self.control {
                    server.mark_ready(of_clients.iter().copied(), now);
                }
                self.poll_failed = false;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => {
                if !std::mem::replace(&mut self.poll_failed, true) {
                    tracing::error!("failed to wait for news: {}", why(errno));
                }
                self.notify_sockets.listen_to_all();
                std::thread::sleep(POLL_BACKOFF);
            }
        }
    }

    /// How long to wait at most; none: until there is news, which the timer is.
    fn time_out(&mut self, deadline: Option<Time>, now: Time) -> Option<Duration> {
        let timer = self.timer.as_mut();
        let upcoming = deadline.filter(|at| *at > now);
        let rings = timer.is_some_and(|timer| timer.set(upcoming, now).is_ok());
        let left = deadline?.saturating_sub(now);
        (left.is_zero() || !rings).then_some(left)
    }
}

/// Flags that nix does not know cannot be there: nobody has asked for them.
fn flags(fd: &PollFd<'_>) -> PollFlags {
    fd.revents().unwrap_or(PollFlags::empty())
}
