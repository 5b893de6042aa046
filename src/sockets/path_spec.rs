//! The grammar of `--path`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One `--path`: the path of a unix stream socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathSpec(PathBuf);

/// The longest path that fits sockaddr_un with its final NUL, unix(7).
const MAX_PATH: usize = 107;

impl PathSpec {
    /// # Errors
    /// The path cannot be bound, or cannot be a key.
    pub fn new(path: &OsStr) -> Result<PathSpec, String> {
        let bytes = path.as_bytes();
        if bytes.is_empty() {
            return Err("empty; the path of a unix socket is wanted".to_owned());
        }
        if bytes.contains(&b';') || bytes.contains(&b'=') {
            return Err(
                "a path with ';' or '=' would be ambiguous in SERVER_STARTER_PORT".to_owned(),
            );
        }
        if bytes.len() > MAX_PATH {
            return Err(format!(
                "{} bytes long, and a unix socket's path has at most {MAX_PATH}",
                bytes.len()
            ));
        }
        Ok(PathSpec(path.into()))
    }

    /// The path as typed, which is the socket's key too.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_that_cannot_be_bound_or_be_a_key_is_refused() {
        for bad in ["", "/tmp/a;b", "/tmp/a=b", &format!("/{}", "x".repeat(107))] {
            assert!(PathSpec::new(OsStr::new(bad)).is_err(), "{bad}");
        }
        let longest = format!("/{}", "x".repeat(106));
        assert!(PathSpec::new(OsStr::new(&longest)).is_ok());
    }
}
