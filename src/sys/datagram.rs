//! Datagrams with their sender's credentials, unix(7).
//!
//! recvmsg(2) by hand: nix hands out nothing at all of a message whose descriptors did not all fit
//! into our table, and those that did would stay open for ever.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::{mem, ptr};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use crate::types::Signal;

/// The most descriptors that one message can carry, SCM_MAX_FD in Linux.
const MOST_FDS: usize = 253;

/// Room for one message and what comes along with it; made once.
pub(crate) struct Inbox {
    text: Vec<u8>,
    /// Of words, so that headers are aligned in it.
    control: Vec<u64>,
}

/// A message, and who sent it by the kernel's word.
pub(crate) struct Datagram<'a> {
    /// None: it was too long.
    pub(crate) text: Option<&'a [u8]>,
    /// None: the kernel did not say.
    pub(crate) sender: Option<libc::ucred>,
}

impl Inbox {
    /// For messages of up to `size` bytes.
    pub(crate) fn new(size: usize) -> Inbox {
        let space = |bytes: usize| {
            // SAFETY: computes a number from a number.
            unsafe { libc::CMSG_SPACE(bytes as libc::c_uint) as usize }
        };
        let room = space(MOST_FDS * size_of::<RawFd>()) + space(size_of::<libc::ucred>());
        Inbox {
            text: vec![0; size],
            control: vec![0; room.div_ceil(size_of::<u64>())],
        }
    }

    /// The next message, without waiting; none: there is none just now. Descriptors that come with
    /// it are closed, which is all that `BARRIER=1` of sd_notify_barrier(3) asks for.
    pub(crate) fn receive(&mut self, from: impl AsFd) -> io::Result<Option<Datagram<'_>>> {
        let mut part = libc::iovec {
            iov_base: self.text.as_mut_ptr().cast(),
            iov_len: self.text.len(),
        };
        // SAFETY: all zeros is a valid msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        message.msg_control = self.control.as_mut_ptr().cast();
        message.msg_controllen = (self.control.len() * size_of::<u64>()) as _; // musl has u32 here
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        let fd = from.as_fd().as_raw_fd();
        let length = loop {
            // SAFETY: `message` names buffers of ours with their lengths, which outlive the call.
            match Errno::result(unsafe { libc::recvmsg(fd, &mut message, flags) }) {
                Ok(length) => break length as usize,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        // SAFETY: the kernel has just filled the message, and nothing has touched it since.
        let sender = unsafe { close_fds_and_find_sender(&message) };
        let whole = message.msg_flags & libc::MSG_TRUNC == 0;
        Ok(Some(Datagram {
            text: self.text.get(..length).filter(|_| whole),
            sender,
        }))
    }
}

/// # Safety
/// `message` comes from recvmsg(2), its control buffer lives, and its descriptors are nobody's yet.
unsafe fn close_fds_and_find_sender(message: &libc::msghdr) -> Option<libc::ucred> {
    let mut sender = None;
    // SAFETY: the macros stay within the control buffer, by the length that the kernel has set. What
    // they point to is read as bytes are, aligned or not.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let libc::cmsghdr {
                cmsg_len,
                cmsg_level,
                cmsg_type,
                .. // musl pads it
            } = ptr::read_unaligned(header);
            let data = libc::CMSG_DATA(header);
            #[allow(clippy::unnecessary_cast)] // not with musl
            let length = (cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            match (cmsg_level, cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    let fds = data.cast::<RawFd>();
                    release((0..length / size_of::<RawFd>()).map(|at| {
                        let fd = ptr::read_unaligned(fds.add(at));
                        OwnedFd::from_raw_fd(fd)
                    }));
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if length >= size_of::<libc::ucred>() => {
                    sender = Some(ptr::read_unaligned(data.cast::<libc::ucred>()));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    sender
}

/// Whether one more datagram can be sent at once: poll(2) looks at the queue of the socket's peer as
/// well as at its own. False, too, if there is something wrong with it.
pub(crate) fn takes_more(connected: &UnixDatagram) -> io::Result<bool> {
    let mut fds = [PollFd::new(connected.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO)?;
    let [fd] = fds;
    Ok(fd.revents() == Some(PollFlags::POLLOUT))
}

/// Closes descriptors of somebody's without waiting. The last close of a connection that lingers,
/// SO_LINGER of socket(7), waits for its peer, as long as its owner likes; the end of a process that
/// has it open does not. So a child has them, too, until we have closed ours.
pub(crate) fn release(fds: impl Iterator<Item = OwnedFd>) {
    let mut witness = None;
    let mut held: [Option<OwnedFd>; MOST_FDS] = [const { None }; MOST_FDS];
    for (place, fd) in held.iter_mut().zip(fds) {
        *place = Some(fd);
    }
    // Whether it lingers is its owner's to change while we look.
    let is_socket = |fd: &OwnedFd| getsockopt(fd, sockopt::SockType).is_ok();
    if held.iter().flatten().any(is_socket) {
        witness = FdHolder::call();
    }
    drop(held);
    drop(witness);
}

/// A child that has everything open that we had, and does nothing. It is reaped as any that is no
/// worker.
struct FdHolder(libc::pid_t);

impl FdHolder {
    fn call() -> Option<FdHolder> {
        let we = std::process::id();
        // SAFETY: the child makes only system calls, and never returns.
        unsafe {
            match libc::fork() {
                0 => {
                    // It must not outlive us, with our sockets open.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    while libc::getppid() as u32 == we {
                        libc::pause();
                    }
                    libc::_exit(0)
                }
                pid => (pid > 0).then_some(FdHolder(pid)),
            }
        }
    }
}

impl Drop for FdHolder {
    fn drop(&mut self) {
        let _ = super::process::kill(self.0, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt};
    use std::io::{IoSlice, Write};

    #[test]
    fn text_sender_and_closed_descriptors() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        setsockopt(&ours, sockopt::PassCred, &true).unwrap();
        let mut inbox = Inbox::new(8);
        assert!(inbox.receive(&ours).unwrap().is_none());

        let (read, write) = nix::unistd::pipe().unwrap();
        let fds = vec![write.as_raw_fd(); MOST_FDS];
        let rights = [ControlMessage::ScmRights(&fds)];
        let parts = [IoSlice::new(b"BARRIER=")];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        drop(write);
        let datagram = inbox.receive(&ours).unwrap().unwrap();
        assert_eq!(datagram.text, Some(&b"BARRIER="[..]));
        assert_eq!(datagram.sender.unwrap().pid, std::process::id() as i32);
        let mut nothing = [0];
        assert_eq!(nix::unistd::read(&read, &mut nothing), Ok(0), "all closed");

        theirs.send(b"nine byte").unwrap();
        assert_eq!(inbox.receive(&ours).unwrap().unwrap().text, None);
        theirs.send(b"").unwrap();
        let datagram = inbox.receive(&ours).unwrap().unwrap();
        assert_eq!(datagram.text, Some(&b""[..]));
    }

    /// Each of them would be waited for a long time.
    #[test]
    fn connections_that_linger_are_closed_at_once() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap(); // of the peers, too
        let address = listener.local_addr().unwrap();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 1000,
        };
        let mut inbox = Inbox::new(8);
        let mut peers = Vec::new();
        for _ in 0..10 {
            let mut lingering = Vec::new();
            for _ in 0..3 {
                let connection = std::net::TcpStream::connect(address).unwrap();
                setsockopt(&connection, sockopt::Linger, &linger).unwrap();
                // More than the peer takes, who does not read.
                connection.set_nonblocking(true).unwrap();
                while (&connection).write(&[0; 1 << 14]).is_ok() {}
                lingering.push(connection);
                peers.push(listener.accept().unwrap());
            }
            let fds: Vec<RawFd> = lingering.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&fds)];
            let parts = [IoSlice::new(b"x")];
            sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
            release(lingering.into_iter().map(OwnedFd::from)); // of the sender's, too
            let start = std::time::Instant::now();
            assert!(inbox.receive(&ours).unwrap().is_some());
            assert!(start.elapsed().as_secs() < 100, "it has lingered");
        }
    }
}
