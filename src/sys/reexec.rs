//! One program makes way for the next in the same process, execve(2): its descriptors stay open, its
//! children stay its children, and what it knows travels in a sealed memfd_create(2).

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

/// The variable that tells the next program where its memory is: the descriptor's number.
const VARIABLE: &str = "START_SERVER_STATE";

/// More than any state has: a file that is longer is none.
const LONGEST: u64 = 256 << 20;

/// Descriptors that are to stay open, by their numbers.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<RawFd>);

impl Kept {
    /// This one is to stay open, and be adopted under the number that is returned.
    pub(crate) fn keep(&mut self, fd: impl AsFd) -> RawFd {
        let number = fd.as_fd().as_raw_fd();
        self.0.push(number);
        number
    }
}

/// What one program leaves to the next.
pub(crate) struct Legacy(OwnedFd);

impl Legacy {
    /// Writes it down, on descriptor `min_fd` or higher. Nobody can change it afterwards.
    pub(crate) fn write(content: &[u8], min_fd: RawFd) -> io::Result<Legacy> {
        let fd = super::fd::raise(sealable()?, min_fd)?;
        let mut file = File::from(fd);
        file.write_all(content)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
        Ok(Legacy(file.into()))
    }

    /// The descriptor, for another process that is to read it.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// `NAME=VALUE`: where it is.
    pub(crate) fn variable(&self) -> CString {
        let variable = format!("{VARIABLE}={}", self.number());
        CString::new(variable).unwrap_or_default() // it has no NUL byte
    }
}

/// A memory file; one that can never be executed, where the kernel knows that there are such.
fn sealable() -> nix::Result<OwnedFd> {
    const NOEXEC_SEAL: u32 = 8; // MFD_NOEXEC_SEAL, Linux 6.3
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let never_executed = flags | MFdFlags::from_bits_retain(NOEXEC_SEAL);
    memfd_create(c"start_server state", never_executed)
        .or_else(|_| memfd_create(c"start_server state", flags))
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

/// The path that execve(2) was given for this program; none: the kernel does not say.
pub(crate) fn executed_as() -> Option<OsString> {
    // SAFETY: getauxval(3) reads what the kernel has put on the stack at exec.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    let path = std::ptr::with_exposed_provenance::<libc::c_char>(usize::try_from(address).ok()?);
    if path.is_null() {
        return None;
    }
    // SAFETY: it is a string that ends with a NUL byte, and stays there as long as the process.
    let path = unsafe { CStr::from_ptr(path) };
    Some(OsString::from_vec(path.to_bytes().to_vec()))
}

/// What was left to us, if anything was. To be called while there is one thread: the variable is
/// removed.
pub(crate) fn legacy() -> Option<io::Result<Vec<u8>>> {
    let number = std::env::var_os(VARIABLE)?;
    super::environment::unset(&[VARIABLE]);
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
    if length as u64 > LONGEST {
        return Err(io::Error::other("too long"));
    }
    let mut content = vec![0; length];
    // The offset is shared with whoever wrote it.
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Runs a program in place of this one, with our environment, the kept descriptors and the legacy.
/// Returns only if that failed; then everything is as it was.
pub(crate) fn exec(path: &CStr, argv: &[CString], kept: &Kept, legacy: &Legacy) -> Errno {
    let mut environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            CString::new(OsString::into_vec(name)).ok() // it came from one
        })
        .collect();
    environment.push(legacy.variable());
    let numbers = || kept.0.iter().copied().chain([legacy.number()]);
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
    // SAFETY: no memory is involved; the number is that of a descriptor we own.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, flags) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_cannot_be_changed() {
        let legacy = Legacy::write(b"state", 3).unwrap();
        let changed = nix::unistd::write(&legacy.0, b"x");
        assert_eq!(changed, Err(Errno::EPERM));
        // As if it had come through exec.
        let copy = legacy.0.try_clone().unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(copy);
        set_flags(number, 0).unwrap();
        assert_eq!(read(Some(number)).unwrap(), b"state");
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
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
    fn after_an_exec_that_failed_nothing_is_left_open_to_children() {
        let legacy = Legacy::write(b"", 3).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut kept = Kept::default();
        let number = kept.keep(&file);
        let errno = exec(c"/nonexistent/program", &[c"x".into()], &kept, &legacy);
        assert_eq!(errno, Errno::ENOENT);
        for number in [number, legacy.number()] {
            // SAFETY: asks for a flag of an open descriptor.
            let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    }
}
