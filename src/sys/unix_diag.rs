//! The file that a unix socket is bound to, sock_diag(7).
//!
//! getsockname(2) returns only the path that bind(2) was called with. The file at that path may have been
//! replaced since, by the file of another socket; sock_diag(7) identifies the file.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `SOCK_DIAG_BY_FAMILY`, linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// `UDIAG_SHOW_VFS` and `UNIX_DIAG_VFS`, linux/unix_diag.h.
const SHOW_FILE: u32 = 2;
const FILE: u16 = 1;
/// nlmsghdr and unix_diag_msg, in bytes.
const HEADER: usize = 16;
const MESSAGE: usize = 16;

/// The lower 32 bits of the inode number of the file that a unix socket is bound to; `None` if it is bound to
/// no file. The file may have been removed: no other file gets the number while the socket is open.
pub(crate) fn bound_file(unix: &OwnedFd) -> io::Result<Option<u32>> {
    let inode = super::fd::metadata(unix)?.ino() as u32; // those of sockets have 32 bits
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let fd = netlink.as_fd().as_raw_fd();
    send(fd, &request(inode), MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let length = loop {
        // The kernel has answered before send(2) returned.
        match recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => break length,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    parse(answer.get(..length).unwrap_or_default())
}

fn request(inode: u32) -> Vec<u8> {
    const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
    let length: u32 = 40;
    let (sequence, port) = (0_u32, 0_u32);
    let (protocol, padding) = (0_u8, [0_u8; 2]);
    let (all_states, any_cookie) = (u32::MAX, u64::MAX);
    [
        &length.to_ne_bytes()[..],
        &BY_FAMILY.to_ne_bytes(),
        &REQUEST.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &port.to_ne_bytes(),
        &[libc::AF_UNIX as u8, protocol],
        &padding,
        &all_states.to_ne_bytes(),
        &inode.to_ne_bytes(),
        &SHOW_FILE.to_ne_bytes(),
        &any_cookie.to_ne_bytes(),
    ]
    .concat()
}

/// Reads the inode number from the kernel's answer, netlink(7).
fn parse(answer: &[u8]) -> io::Result<Option<u32>> {
    let malformed = || io::Error::from_raw_os_error(libc::EBADMSG);
    let (header, body) = answer.split_at_checked(HEADER).ok_or_else(malformed)?;
    let kind = u16_at(header, 4).ok_or_else(malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let errno = u32_at(body, 0).ok_or_else(malformed)? as i32;
        return Err(io::Error::from_raw_os_error(errno.wrapping_neg()));
    }
    if kind != BY_FAMILY {
        return Err(malformed());
    }
    let mut attributes = body.get(MESSAGE..).ok_or_else(malformed)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..usize::from(length));
        if kind == FILE {
            return Ok(value.and_then(|value| u32_at(value, 0)));
        }
        let next = usize::from(length).max(4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    Ok(None)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn file_of_a_bound_socket_is_known_even_after_its_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
        let Ok(found) = bound_file(&listener) else {
            return eprintln!("SKIPPED: no unix_diag here");
        };
        let inode = std::fs::symlink_metadata(&path).unwrap().ino() as u32;
        assert_eq!(found, Some(inode));

        std::fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        assert_eq!(bound_file(&listener).unwrap(), Some(inode));
        let other = std::fs::symlink_metadata(&path).unwrap().ino() as u32;
        assert_ne!(other, inode, "the number is not given to another file");
    }

    #[test]
    fn socket_without_a_file_has_no_inode_number() {
        let (socket, _peer) = UnixStream::pair().unwrap();
        if let Ok(found) = bound_file(&socket.into()) {
            assert_eq!(found, None);
        }
        let file = tempfile::tempfile().unwrap();
        assert!(bound_file(&file.into()).is_err(), "it is no socket");
    }

    #[test]
    fn malformed_answer_is_an_error() {
        for answer in [&[][..], &[0; 15], &[0; 16], &[0xff; 40]] {
            assert!(parse(answer).is_err(), "{answer:?}");
        }
    }
}
