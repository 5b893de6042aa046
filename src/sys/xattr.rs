//! Extended attributes, xattr(7).

use std::ffi::CStr;
use std::path::Path;

/// Whether a file has an attribute with exactly this value, of at most 16 bytes, getxattr(2). `false` if the
/// attribute cannot be read: the `trusted.` ones need CAP_SYS_ADMIN.
pub(crate) fn has_value(path: &Path, name: &CStr, value: &[u8]) -> bool {
    let mut read = [0_u8; 16];
    let length = rustix::fs::getxattr(path, name, &mut read);
    length.is_ok_and(|length| read.get(..length) == Some(value))
}
