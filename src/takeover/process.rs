//! What /proc says of a process, proc_pid(5). Each answer is of the process that has the pid at that
//! moment: whether it was the same one throughout is the caller's to find out, by a pidfd.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::sys;
use crate::types::Pid;

/// More of an environment is not read, in bytes: execve(2) takes no more than 6 MiB.
const LONGEST_ENVIRON: u64 = 8 << 20;

/// How long ago it was started; up to a clock tick (10 ms) too much.
pub(super) fn age(pid: Pid) -> io::Result<Duration> {
    let ticks: u64 = field(&stat(pid)?, 19)?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.filter(|n| *n > 0);
    let per_second = u64::try_from(per_second.unwrap_or(100)).unwrap_or(100);
    let (seconds, rest) = (ticks / per_second, ticks % per_second);
    let started = Duration::from_secs(seconds) + Duration::from_millis(rest * 1000 / per_second);
    Ok(sys::clock::since_boot().saturating_sub(started))
}

pub(super) fn parent(pid: Pid) -> io::Result<Pid> {
    field(&stat(pid)?, 1)
}

/// Its real and its effective user.
pub(super) fn users(pid: Pid) -> io::Result<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let mut users = line.unwrap_or_default().split_whitespace();
    let mut next = || users.next()?.parse().ok();
    next().zip(next()).ok_or_else(malformed)
}

/// Whether a program of this name runs in it, or a script of this name.
pub(super) fn is_named(pid: Pid, name: &str) -> io::Result<bool> {
    let command = fs::read(format!("/proc/{pid}/cmdline"))?;
    let mut words = command.split(|byte| *byte == 0);
    let is_name =
        |word: &[u8]| Path::new(OsStr::from_bytes(word)).file_name() == Some(name.as_ref());
    let comm = fs::read(format!("/proc/{pid}/comm"))?;
    Ok(comm.trim_ascii_end() == name.as_bytes() || words.any(is_name))
}

pub(super) fn environ(pid: Pid) -> io::Result<Vec<u8>> {
    let mut environ = Vec::new();
    let file = File::open(format!("/proc/{pid}/environ"))?;
    file.take(LONGEST_ENVIRON).read_to_end(&mut environ)?;
    Ok(environ)
}

/// The inode number of the socket that it has on this number. `None` if there is no socket.
pub(super) fn socket(pid: Pid, number: RawFd) -> io::Result<Option<u64>> {
    match fs::read_link(format!("/proc/{pid}/fd/{number}")) {
        Ok(target) => Ok(inode(target.to_str().unwrap_or_default())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Its sockets: numbers, and inode numbers.
pub(super) fn sockets(pid: Pid) -> io::Result<Vec<(RawFd, u64)>> {
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number {
            sockets.extend(socket(pid, number)?.map(|inode| (number, inode)));
        }
    }
    Ok(sockets)
}

/// `socket:[4242]`.
fn inode(target: &str) -> Option<u64> {
    let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
    number.parse().ok()
}

/// The fields of `stat` after the program's name, which may have anything in it.
fn stat(pid: Pid) -> io::Result<String> {
    let mut stat = Vec::new();
    File::open(format!("/proc/{pid}/stat"))?.read_to_end(&mut stat)?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, fields) = stat.rsplit_once(") ").ok_or_else(malformed)?;
    Ok(fields.to_owned())
}

fn field<T: std::str::FromStr>(stat: &str, at: usize) -> io::Result<T> {
    let field = stat.split_whitespace().nth(at);
    field
        .and_then(|text| text.parse().ok())
        .ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn own_process_is_described_correctly() {
        let pid = std::process::id() as Pid;
        assert!(age(pid).unwrap() < Duration::from_secs(3600));
        let parent = parent(pid).unwrap() as u32;
        assert_eq!(parent, std::os::unix::process::parent_id());
        let me = nix::unistd::getuid().as_raw();
        assert_eq!(users(pid).unwrap().0, me);
        assert!(!environ(pid).unwrap().is_empty());
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        assert!(is_named(pid, name).unwrap());
        assert!(!is_named(pid, "another program").unwrap());
    }

    #[test]
    fn sockets_are_told_from_other_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let file = tempfile::tempfile().unwrap();
        let pid = std::process::id() as Pid;
        let inode = sys::fd::metadata(&listener).unwrap().ino();
        let number = listener.as_raw_fd();
        assert_eq!(socket(pid, number).unwrap(), Some(inode));
        assert_eq!(socket(pid, file.as_raw_fd()).unwrap(), None);
        assert_eq!(socket(pid, 99_999).unwrap(), None);
        let sockets = sockets(pid).unwrap();
        assert!(sockets.contains(&(number, inode)), "{sockets:?}");
    }
}
