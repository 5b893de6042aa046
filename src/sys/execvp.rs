//! Where a program is, and how it is run: execvp(3), which is not the same with every C library. Not
//! all give a file that is no program to the shell, nor do all look in the same directories if there
//! is no PATH. All that it needs is made before fork(2), for a child must not allocate.

use std::ffi::{CStr, CString};
use std::ptr;

use nix::errno::Errno;

/// Where programs are if there is no PATH.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Runs a file that is no program.
const SHELL: &CStr = c"/bin/sh";

/// What exec(3) is to try.
pub(super) struct Search {
    /// Where the program may be, best first.
    paths: Vec<CString>,
    /// The arguments, with room for the shell before them; the null at the end.
    argv: Vec<*const libc::c_char>,
}

impl Search {
    /// For the program `argv[0]`, by the PATH among these `NAME=VALUE`. `argv` has to outlive it.
    pub(super) fn new(argv: &[CString], environment: &[CString]) -> Search {
        let name = argv.first().map_or(c"", CString::as_c_str).to_bytes();
        let path = environment.iter().find_map(|variable| {
            let variable = variable.to_bytes();
            variable.strip_prefix(b"PATH=")
        });
        let directories = path.unwrap_or(DEFAULT_PATH).split(|byte| *byte == b':');
        let paths: Vec<Vec<u8>> = match name.contains(&b'/') || name.is_empty() {
            true => vec![name.to_vec()],
            false => directories.map(|dir| within(dir, name)).collect(),
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

    /// Becomes the program. Returns, with the reason, if there is none that can be run. Allocates
    /// nothing.
    ///
    /// # Safety
    /// For a forked child. `environment` ends in null.
    pub(super) unsafe fn exec(&mut self, environment: *const *const libc::c_char) -> Errno {
        let mut forbidden = false;
        for path in &self.paths {
            // SAFETY: the strings and vectors outlive the calls; both vectors end in null, and the
            // one of arguments is longer than one.
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
                Errno::EACCES => forbidden = true, // there may be another one
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

/// The path of a file in a directory of PATH; an empty one is the current directory.
fn within(dir: &[u8], name: &[u8]) -> Vec<u8> {
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
    fn a_path_is_not_looked_for() {
        assert_eq!(paths("./web", &["PATH=/bin"]), ["./web"]);
        assert_eq!(paths("", &["PATH=/bin"]), [""]);
    }

    #[test]
    fn a_name_is_looked_for_in_all_directories_in_order() {
        let path = ["HOME=/root", "PATH=/a::/b c"];
        assert_eq!(paths("web", &path), ["/a/web", "web", "/b c/web"]);
        assert_eq!(paths("web", &["XPATH=/a"]), ["/bin/web", "/usr/bin/web"]);
        assert_eq!(paths("web", &["PATH="]), ["web"], "the current directory");
    }
}
