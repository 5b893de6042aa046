//! Datagrams with the credentials of their sender, unix(7).
//!
//! recvmsg(2) is called directly. If not all descriptors of a message fit into the descriptor table,
//! nix returns none of them, and those that did fit would stay open. rustix has no pid 0, and that
//! is what the kernel reports for a sender outside of this pid namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::{mem, ptr};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use crate::types::Signal;

/// The largest number of descriptors in one message, SCM_MAX_FD in Linux.
const MAX_FDS: usize = 253;

/// Buffers for one message and its control messages, allocated once.
pub(crate) struct ReceiveBuffer {
    text: Vec<u8>,
    /// `u64`, so that the headers are aligned.
    control: Vec<u64>,
}

/// A received message.
pub(crate) struct Datagram<'a> {
    /// `None` if the message was longer than the buffer.
    pub(crate) text: Option<&'a [u8]>,
    /// The sender's credentials, as the kernel has checked them. `None` if the socket has no SO_PASSCRED.
    pub(crate) sender: Option<libc::ucred>,
}

impl ReceiveBuffer {
    /// A buffer for messages of up to `size` bytes.
    pub(crate) fn new(size: usize) -> ReceiveBuffer {
        let space = |bytes: usize| {
            // SAFETY: computes a number from a number.
            unsafe { libc::CMSG_SPACE(bytes as libc::c_uint) as usize }
        };
        let size_of_control = space(MAX_FDS * size_of::<RawFd>()) + space(size_of::<libc::ucred>());
        ReceiveBuffer {
            text: vec![0; size],
            control: vec![0; size_of_control.div_ceil(size_of::<u64>())],
        }
    }

    /// Receives the next message without waiting; `None` if there is none. Descriptors in it are closed:
    /// `BARRIER=1` of sd_notify_barrier(3) asks for nothing else.
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
            // SAFETY: `message` has the addresses and lengths of buffers of `self`, which outlive the call.
            match Errno::result(unsafe { libc::recvmsg(fd, &mut message, flags) }) {
                Ok(length) => break length as usize,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        };
        // SAFETY: the kernel has just filled in `message`, and it has not been changed since.
        let sender = unsafe { close_fds_and_find_sender(&message) };
        let whole = message.msg_flags & libc::MSG_TRUNC == 0;
        Ok(Some(Datagram {
            text: self.text.get(..length).filter(|_| whole),
            sender,
        }))
    }
}

/// # Safety
/// `message` was filled in by recvmsg(2), its control buffer is valid, and its descriptors have no owner.
unsafe fn close_fds_and_find_sender(message: &libc::msghdr) -> Option<libc::ucred> {
    let mut sender = None;
    // SAFETY: the macros stay within the control buffer, whose length the kernel has set. Values are read
    // unaligned.
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
                    close_without_lingering((0..length / size_of::<RawFd>()).map(|at| {
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

/// Whether a datagram can be sent without waiting: poll(2) checks the queue of the socket's peer as well
/// as its own. `false` if poll reports an error or hang-up of the socket.
pub(crate) fn is_writable(connected: &UnixDatagram) -> io::Result<bool> {
    let mut fds = [PollFd::new(connected.as_fd(), PollFlags::POLLOUT)];
    poll(&mut fds, PollTimeout::ZERO)?;
    let [fd] = fds;
    Ok(fd.revents() == Some(PollFlags::POLLOUT))
}

/// Closes descriptors that other processes have sent, without waiting. close(2) of the last descriptor of a
/// connection with SO_LINGER, socket(7), waits for its peer, for a time that the sender chooses; the end
/// of a process does not wait. So a child process keeps the descriptors open while they are closed here.
fn close_without_lingering(fds: impl Iterator<Item = OwnedFd>) {
    let mut open: [Option<OwnedFd>; MAX_FDS] = [const { None }; MAX_FDS];
    for (slot, fd) in open.iter_mut().zip(fds) {
        *slot = Some(fd);
    }
    // Every socket counts: the sender can set SO_LINGER at any time.
    let is_socket = |fd: &OwnedFd| getsockopt(fd, sockopt::SockType).is_ok();
    let holder = open.iter().flatten().any(is_socket).then(FdHolder::fork);
    drop(open);
    drop(holder);
}

/// A child process that only keeps every descriptor of this process open. Killed on drop; reaped like any
/// unknown child.
struct FdHolder(libc::pid_t);

impl FdHolder {
    /// `None` if fork(2) failed.
    fn fork() -> Option<FdHolder> {
        let parent = std::process::id();
        // SAFETY: the child makes only system calls, and never returns.
        unsafe {
            match libc::fork() {
                0 => {
                    // It must not outlive the supervisor: it has the listening sockets open.
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    while libc::getppid() as u32 == parent {
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
    fn datagram_has_text_and_sender_and_its_descriptors_are_closed() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        setsockopt(&ours, sockopt::PassCred, &true).unwrap();
        let mut buffer = ReceiveBuffer::new(8);
        assert!(buffer.receive(&ours).unwrap().is_none());

        let (read, write) = nix::unistd::pipe().unwrap();
        let fds = vec![write.as_raw_fd(); MAX_FDS];
        let rights = [ControlMessage::ScmRights(&fds)];
        let parts = [IoSlice::new(b"BARRIER=")];
        sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
        drop(write);
        let datagram = buffer.receive(&ours).unwrap().unwrap();
        assert_eq!(datagram.text, Some(&b"BARRIER="[..]));
        assert_eq!(datagram.sender.unwrap().pid, std::process::id() as i32);
        let mut nothing = [0];
        assert_eq!(nix::unistd::read(&read, &mut nothing), Ok(0), "all closed");

        theirs.send(b"nine byte").unwrap();
        assert_eq!(buffer.receive(&ours).unwrap().unwrap().text, None);
        theirs.send(b"").unwrap();
        let datagram = buffer.receive(&ours).unwrap().unwrap();
        assert_eq!(datagram.text, Some(&b""[..]));
    }

    /// close(2) would wait 1000 seconds for each connection.
    #[test]
    fn connection_that_lingers_is_closed_without_waiting() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        setsockopt(&listener, sockopt::RcvBuf, &4096).unwrap(); // the peers inherit it
        let address = listener.local_addr().unwrap();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 1000,
        };
        let mut buffer = ReceiveBuffer::new(8);
        let mut peers = Vec::new();
        for _ in 0..10 {
            let mut lingering = Vec::new();
            for _ in 0..3 {
                let connection = std::net::TcpStream::connect(address).unwrap();
                setsockopt(&connection, sockopt::Linger, &linger).unwrap();
                // More than the peer's buffer holds; the peer does not read.
                connection.set_nonblocking(true).unwrap();
                while (&connection).write(&[0; 1 << 14]).is_ok() {}
                lingering.push(connection);
                peers.push(listener.accept().unwrap());
            }
            let fds: Vec<RawFd> = lingering.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&fds)];
            let parts = [IoSlice::new(b"x")];
            sendmsg::<()>(theirs.as_raw_fd(), &parts, &rights, MsgFlags::empty(), None).unwrap();
            close_without_lingering(lingering.into_iter().map(OwnedFd::from)); // the sender's copies
            let start = std::time::Instant::now();
            assert!(buffer.receive(&ours).unwrap().is_some());
            assert!(start.elapsed().as_secs() < 100, "close(2) has waited");
        }
    }
}
