//! Finds a program and runs it, as execvp(3) does. C libraries differ: not all of them give a file of
//! unknown format to the shell, and without PATH they search different directories. Everything is
//! allocated before fork(2), since the child must not allocate.

use std::ffi::{CStr, CString};
use std::ptr;

use nix::errno::Errno;

/// The directories to search if there is no PATH.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Runs a file of unknown format (ENOEXEC), a script without `#!`.
const SHELL: &CStr = c"/bin/sh";

/// The paths to try, and the arguments.
pub(super) struct Search {
    /// The possible paths of the program, in the order of PATH.
    paths: Vec<CString>,
    /// The shell, which only ENOEXEC needs, the arguments, and a null pointer.
    argv: Vec<*const libc::c_char>,
}

impl Search {
    /// Prepares the search for the program `argv[0]` by the PATH in `environment`, a list of `NAME=VALUE`.
    /// Holds pointers into `argv`, which must outlive it.
    pub(super) fn new(argv: &[CString], environment: &[CString]) -> Search {
        let name = argv.first().map_or(c"", CString::as_c_str).to_bytes();
        let path = environment.iter().find_map(|variable| {
            let variable = variable.to_bytes();
            variable.strip_prefix(b"PATH=")
        });
        let directories = path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':');
        let paths: Vec<Vec<u8>> = match name.contains(&b'/') || name.is_empty() {
            true => vec![name.to_vec()],
            false => directories.map(|dir| path_in(dir, name)).collect(),
        };
        Search {
            paths: paths
                .into_iter()
                .filter_map(|p| CString::new(p).ok())
                .collect(),
            argv: [SHELL.as_ptr()]
                .into_iter()
                .chain(argv.iter().map(|word| word.as_ptr()))
                .chain([ptr::null()])
                .collect(),
        }
    }

    /// Replaces this process by the program. Returns only if that fails, with the error of execvp(3): EACCES
    /// if a file was found that may not be executed, ENOENT if none was found. Allocates nothing.
    ///
    /// # Safety
    /// For a forked child. `environment` ends in a null pointer, and the `argv` of [`Search::new`] is alive.
    pub(super) unsafe fn exec(&mut self, environment: *const *const libc::c_char) -> Errno {
        let mut forbidden = false;
        for path in &self.paths {
            // SAFETY: the strings and vectors outlive the calls, both vectors end in a null pointer, and
            // `self.argv` has at least two elements, the shell and the null pointer.
            unsafe {
                libc::execve(path.as_ptr(), self.argv.as_ptr().add(1), environment);
                if Errno::last() == Errno::ENOEXEC {
                    if let Some(program) = self.argv.get_mut(1).filter(|word| !word.is_null()) {
                        *program = path.as_ptr();
                    }
                    libc::execve(SHELL.as_ptr(), self.argv.as_ptr(), environment);
                    return Errno::ENOEXEC;
                }
            }
            match Errno::last() {
                Errno::EACCES => forbidden = true, // a later directory may have one that is allowed
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV => {}
                Errno::ETIMEDOUT => {}
                errno => return errno,
            }
        }
        match forbidden {
            true => Errno::EACCES,
            false => Errno::ENOENT,
        }
    }
}

/// The path of a file in a directory of PATH. An empty directory is the current one.
fn path_in(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    [dir, separator, name].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(name: &str, environment: &[&str]) -> Vec<String> {
        let strings = |all: &[&str]| -> Vec<CString> {
            all.iter().map(|one| CString::new(*one).unwrap()).collect()
        };
        let search = Search::new(&strings(&[name]), &strings(environment));
        let text = |path: &CString| path.to_str().unwrap().to_owned();
        search.paths.iter().map(text).collect()
    }

    #[test]
    fn program_with_a_slash_is_not_searched_for() {
        assert_eq!(paths("./web", &["PATH=/bin"]), ["./web"]);
        assert_eq!(paths("", &["PATH=/bin"]), [""]);
    }

    #[test]
    fn program_without_a_slash_is_searched_for_in_all_directories_of_path_in_order() {
        let path = ["HOME=/root", "PATH=/a::/b c"];
        assert_eq!(paths("web", &path), ["/a/web", "web", "/b c/web"]);
        assert_eq!(paths("web", &["XPATH=/a"]), ["/bin/web", "/usr/bin/web"]);
        assert_eq!(paths("web", &["PATH="]), ["web"], "the current directory");
    }
}
