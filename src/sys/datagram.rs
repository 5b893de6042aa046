//! Datagrams with their sender's credentials, unix(7).

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg};

/// The most descriptors that one message can carry, SCM_MAX_FD in Linux.
const MOST_FDS: usize = 253;

/// Room for one message and what comes along with it; made once.
pub(crate) struct Inbox {
    text: Vec<u8>,
    control: Vec<u8>,
}

/// A message, and who sent it by the kernel's word.
pub(crate) struct Datagram<'a> {
    /// None: it was too long.
    pub(crate) text: Option<&'a [u8]>,
    /// None: the kernel did not say.
    pub(crate) sender: Option<UnixCredentials>,
}

impl Inbox {
    /// For messages of up to `size` bytes.
    pub(crate) fn new(size: usize) -> Inbox {
        Inbox {
            text: vec![0; size],
            control: cmsg_space!([RawFd; MOST_FDS], UnixCredentials),
        }
    }

    /// The next message, without waiting; none: there is none just now. Descriptors that come with
    /// it are closed, which is all that `BARRIER=1` of sd_notify_barrier(3) asks for.
    pub(crate) fn receive(&mut self, from: impl AsFd) -> io::Result<Option<Datagram<'_>>> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let fd = from.as_fd().as_raw_fd();
        let mut parts = [IoSliceMut::new(&mut self.text)];
        let message = loop {
            match recvmsg::<()>(fd, &mut parts, Some(&mut self.control), flags) {
                Ok(message) => break message,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut sender = None;
        for part in message.cmsgs()? {
            match part {
                ControlMessageOwned::ScmRights(fds) => fds.into_iter().for_each(close),
                ControlMessageOwned::ScmCredentials(credentials) => sender = Some(credentials),
                _ => {}
            }
        }
        let (length, whole) = (message.bytes, !message.flags.contains(MsgFlags::MSG_TRUNC));
        Ok(Some(Datagram {
            text: self.text.get(..length).filter(|_| whole),
            sender,
        }))
    }
}

fn close(fd: RawFd) {
    // SAFETY: the kernel has just put it into our table, and this is the only mention of it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}
