//! The output of strace: the supervisor's own calls, in their order.

use server_starter_testing::program;

/// One system call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The time, in seconds since 1970.
    pub(crate) at: f64,
    pub(crate) name: String,
    /// The arguments and the result.
    pub(crate) text: String,
    /// Its number among the calls of its name since the exec, from 1 on: `when=` of strace.
    pub(crate) nth: usize,
    /// Whether strace made it fail.
    pub(crate) injected: bool,
}

/// All calls of a run.
pub(crate) struct Trace {
    /// From the first call of `main` on.
    pub(crate) calls: Vec<Call>,
    /// Whether a call outside `main` failed: after an upgrade the C library starts again.
    pub(crate) injected_elsewhere: bool,
    /// Whether the process has ended, so that no call is missing.
    pub(crate) complete: bool,
}

impl Trace {
    /// Parses the output of `strace -ttt`.
    ///
    /// Calls of the dynamic linker, the C library and Rust's runtime before `main` are left out. The start of the
    /// runtime ends with its handlers for stack overflow, SIGSEGV and SIGBUS; its end begins when it removes its signal
    /// stack.
    pub(crate) fn parse(text: &str) -> Trace {
        let mut seen = std::collections::HashMap::<String, usize>::new();
        let mut calls = Vec::new();
        let mut in_main = false;
        let mut injected_elsewhere = false;
        for line in text.lines() {
            let Some((at, rest)) = line.split_once(' ') else {
                continue;
            };
            let Ok(at) = at.parse() else { continue };
            let Some((name, text)) = rest.trim_start().split_once('(') else {
                continue; // +++ exited with 0 +++, --- SIGCHLD {…} ---
            };
            if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            // strace shows the exec of the program and does not count it.
            let nth = seen.entry(name.to_owned()).or_default();
            *nth += usize::from(name != "execve" || in_main);
            // After the exec of an upgrade the runtime starts again.
            let handler = name == "rt_sigaction" && text.starts_with("SIGBUS, {");
            let ends = ["execve", "sigaltstack"].contains(&name);
            let ours = in_main && name != "sigaltstack";
            let failed = text.contains(" = -1 ");
            in_main = (in_main && (!ends || failed)) || handler;
            if !ours {
                injected_elsewhere |= text.ends_with("(INJECTED)");
                continue;
            }
            calls.push(Call {
                at,
                name: name.to_owned(),
                text: text.to_owned(),
                nth: *nth,
                injected: text.ends_with("(INJECTED)"),
            });
        }
        Trace {
            calls,
            injected_elsewhere,
            complete: text
                .lines()
                .next_back()
                .is_some_and(|last| last.ends_with(" +++")),
        }
    }

    /// The calls that strace made fail.
    pub(crate) fn injected(&self) -> Vec<Call> {
        self.calls
            .iter()
            .filter(|call| call.injected)
            .cloned()
            .collect()
    }
}

impl Call {
    /// The call as shown in reports: without what differs from run to run.
    pub(crate) fn shape(&self, directory: &str) -> String {
        let result = self.text.rfind(") = ").or_else(|| self.text.rfind(')'));
        let arguments = self.text.get(..result.unwrap_or(self.text.len()));
        let mut shape = shape_of(&arguments.unwrap_or_default().replace(directory, ""));
        for word in LEFT_OUT {
            shape = shape.replace(word, "");
        }
        // the number of a descriptor is left out, its target is shown
        if let Some((number, what)) = shape.split_once('<') {
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) {
                shape = format!("<{what}");
            }
        }
        if shape.chars().count() > LONGEST {
            shape = shape.chars().take(LONGEST).collect();
            shape.push('…');
        }
        format!("{}({shape})", self.name)
    }
}

const LONGEST: usize = 64;

/// Arguments that are the same in all calls of their kind.
const LEFT_OUT: [&str; 10] = [
    "AT_STATX_SYNC_AS_STAT|",
    "AT_STATX_SYNC_AS_STAT, ",
    ", STATX_ALL, N",
    "|O_CLOEXEC",
    "|SOCK_CLOEXEC",
    "|O_NOCTTY",
    "anon_inode:",
    "sa_family=",
    "{it_interval={tv_sec=0, tv_nsec=0}, ",
    "\"\", ",
];

/// Replaces pids, ports, inodes and addresses, recognised by their length, by `N`.
pub(crate) fn shape_of(text: &str) -> String {
    let text = text
        .replace("AT_FDCWD</>, ", "")
        .replace("AT_FDCWD<>, ", "");
    let me = std::env::current_exe().unwrap_or_default();
    let text = text.replace(&*me.to_string_lossy(), "worker");
    let text = text.replace(&*program!().path().to_string_lossy(), "start_server");
    let mut shape = String::new();
    let mut digits = String::new();
    let settle = |shape: &mut String, digits: &mut String| {
        let hex = digits.starts_with("0x");
        match hex || digits.len() > 3 {
            true => shape.push('N'),
            false => shape.push_str(digits),
        }
        digits.clear();
    };
    for c in text.chars() {
        let goes_on = c.is_ascii_digit()
            || (digits == "0" && c == 'x')
            || (digits.starts_with("0x") && c.is_ascii_hexdigit());
        if goes_on {
            digits.push(c);
            continue;
        }
        settle(&mut shape, &mut digits);
        shape.push(c);
    }
    settle(&mut shape, &mut digits);
    let shape = without_random("start_server-", &shape);
    without_random("status.", &shape)
}

/// Replaces the random part that mkdtemp(3) and mkstemp(3) append to this by `XXXXXX`, and a number below it by `N`.
fn without_random(before: &str, text: &str) -> String {
    let mut parts = text.split(before);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| {
        let random = part.bytes().take_while(|b| b.is_ascii_alphanumeric());
        // a pid or an inode in it may be an N by now
        let rest = part.get(random.count()..).unwrap_or_default();
        let number = rest.strip_prefix('/').map(|rest| {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("/N{rest}")
        });
        all + before + "XXXXXX" + number.as_deref().unwrap_or(rest)
    })
}
