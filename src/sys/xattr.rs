//! Extended attributes, xattr(7).

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether a file has an attribute with exactly this value, of at most 16 bytes, getxattr(2). `false` if the
/// attribute cannot be read: the `trusted.` ones need CAP_SYS_ADMIN.
pub(crate) fn has_value(path: &Path, name: &CStr, value: &[u8]) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mut read = [0_u8; 16];
    // SAFETY: both strings are NUL-terminated, and the buffer has the size that is passed.
    let length = unsafe {
        let buffer = read.as_mut_ptr().cast();
        libc::getxattr(path.as_ptr(), name.as_ptr(), buffer, read.len())
    };
    usize::try_from(length).is_ok_and(|length| read.get(..length) == Some(value))
}
