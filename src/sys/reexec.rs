//! Replaces the program in this process by another one, execve(2). Descriptors stay open and children stay
//! children; the new program reads the state of the old one from a sealed memfd, memfd_create(2).

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::environment::STATE;

/// The maximum size of the state, in bytes.
const MAX_STATE: u64 = 256 << 20;

/// The descriptors that stay open in the next program.
#[derive(Debug, Default)]
pub(crate) struct FdSet(Vec<RawFd>);

impl FdSet {
    /// Adds a descriptor, and returns its number, by which the next program adopts it.
    pub(crate) fn keep(&mut self, fd: impl AsFd) -> RawFd {
        let number = fd.as_fd().as_raw_fd();
        self.0.push(number);
        number
    }
}

/// A memory file with the state that one program saves for the next.
pub(crate) struct StateFile(OwnedFd);

impl StateFile {
    /// Writes the state to descriptor `min_fd` or higher. The file is sealed: it cannot be changed.
    pub(crate) fn write(content: &[u8], min_fd: RawFd) -> io::Result<StateFile> {
        let fd = super::fd::move_above(create_memfd()?, min_fd)?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
        Ok(StateFile(file.into()))
    }

    /// The number of the descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The variable that names the descriptor, `NAME=VALUE`.
    pub(crate) fn variable(&self) -> CString {
        let variable = format!("{STATE}={}", self.number());
        CString::new(variable).unwrap_or_default() // it has no NUL byte
    }
}

/// A memory file that cannot be executed; before Linux 6.3 one that can.
fn create_memfd() -> nix::Result<OwnedFd> {
    const NOEXEC_SEAL: u32 = 8; // MFD_NOEXEC_SEAL, Linux 6.3
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let noexec = flags | MFdFlags::from_bits_retain(NOEXEC_SEAL);
    memfd_create(c"start_server state", noexec)
        .or_else(|_| memfd_create(c"start_server state", flags))
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// The path that execve(2) was called with for this program, AT_EXECFN of getauxval(3); `None` if the kernel
/// does not report it.
pub(crate) fn executed_as() -> Option<OsString> {
    // SAFETY: getauxval(3) reads values that the kernel has put on the stack at exec.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let path = std::ptr::with_exposed_provenance::<libc::c_char>(usize::try_from(address).ok()?);
    if path.is_null() {
        return None;
    }
    // SAFETY: it is a NUL-terminated string that is valid until the process ends.
    let path = unsafe { CStr::from_ptr(path) };
    Some(OsString::from_vec(path.to_bytes().to_vec()))
}

/// Reads the state that the previous program in this process has saved; `None` if this is the first program.
/// Must be called while there is one thread: the variable is removed.
pub(crate) fn take_saved_state() -> Option<io::Result<Vec<u8>>> {
    let number = std::env::var_os(STATE)?;
    super::environment::unset(STATE);
    let number = number.to_str().and_then(|text| text.parse().ok());
    Some(read(number.filter(|number| *number > libc::STDERR_FILENO)))
}

fn read(number: Option<RawFd>) -> io::Result<Vec<u8>> {
    let number = number.ok_or_else(|| io::Error::other("not the number of a descriptor"))?;
    let file = File::from(super::fd::adopt(number)?);
    let sealed = fcntl(&file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_retain);
    if !sealed.is_ok_and(|sealed| sealed.contains(seals())) {
        return Err(io::Error::other("not a sealed file in memory"));
    }
    let length = file.metadata()?.len();
    let length = usize::try_from(length).map_err(io::Error::other)?;
    if length as u64 > MAX_STATE {
        return Err(io::Error::other("too long"));
    }
    let mut content = vec![0; length];
    // The offset is shared with the program that wrote the file.
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Replaces this program by the one at `path`. The environment stays, and the descriptors and the state stay
/// open. Returns only if that failed; then nothing has changed.
pub(crate) fn exec(path: &CStr, argv: &[CString], fds: &FdSet, state: &StateFile) -> Errno {
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(OsString::into_vec(name)).ok() // has no NUL byte
        })
        .collect();
    environment.push(state.variable());
    let numbers = || fds.0.iter().copied().chain([state.number()]);
    let errno = match numbers().try_for_each(|number| set_flags(number, 0)) {
        Err(errno) => errno,
        Ok(()) => {
            let failed: nix::Result<Infallible> = nix::unistd::execve(path, argv, &environment);
            failed.err().unwrap_or(Errno::ENOEXEC)
        }
    };
    for number in numbers() {
        let _ = set_flags(number, libc::FD_CLOEXEC);
    }
    errno
}

fn set_flags(number: RawFd, flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: accesses no memory; the number is that of an open descriptor of this program.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saved_state_is_read_back_and_is_sealed() {
        let state = StateFile::write(b"state", 3).unwrap();
        let changed = nix::unistd::write(&state.0, b"x");
        assert_eq!(changed, Err(Errno::EPERM));
        // As after exec.
        let copy = state.0.try_clone().unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(copy);
        set_flags(number, 0).unwrap();
        assert_eq!(read(Some(number)).unwrap(), b"state");
    }

    #[test]
    fn file_that_is_not_sealed_is_refused() {
        assert!(read(None).is_err());
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(file);
        set_flags(number, 0).unwrap();
        assert!(
            read(Some(number))
                .unwrap_err()
                .to_string()
                .contains("sealed")
        );
    }

    #[test]
    fn failed_exec_leaves_descriptors_close_on_exec() {
        let state = StateFile::write(b"", 3).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut fds = FdSet::default();
        let number = fds.keep(&file);
        let errno = exec(c"/nonexistent/program", &[c"x".into()], &fds, &state);
        assert_eq!(errno, Errno::ENOENT);
        for number in [number, state.number()] {
            // SAFETY: reads a flag of an open descriptor.
            let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    }
}
