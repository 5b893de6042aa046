//! What /proc says about a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn directory(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The number behind `name:` in a file of `name: number unit` lines.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Resident memory in kB, shared pages counted in full.
pub(crate) fn rss(pid: u32) -> Result<u64, String> {
    let text = read(&directory(pid).join("status"))?;
    number(&text, "VmRSS").ok_or_else(|| format!("process {pid} has no VmRSS"))
}

/// Resident memory in kB, shared pages divided among those who share them; `None` where the kernel does not tell.
pub(crate) fn pss(pid: u32) -> Option<u64> {
    number(&read(&directory(pid).join("smaps_rollup")).ok()?, "Pss")
}

/// How often the process was put on or taken off a processor since it began: voluntary and other switches, all threads.
pub(crate) fn switches(pid: u32) -> Result<u64, String> {
    let tasks = directory(pid).join("task");
    let entries = fs::read_dir(&tasks).map_err(|error| format!("{}: {error}", tasks.display()))?;
    let mut sum = 0;
    for entry in entries.flatten() {
        let text = read(&entry.path().join("status"))?;
        for name in ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"] {
            sum += number(&text, name).ok_or_else(|| format!("process {pid} has no {name}"))?;
        }
    }
    Ok(sum)
}

/// Waits until the process has slept for so long on end, or for a second: one that never rests is a finding, not an error.
pub(crate) fn wait_for_rest(pid: u32, rest: Duration) -> Result<(), String> {
    let started = Instant::now();
    let mut before = switches(pid)?;
    while started.elapsed() < Duration::from_secs(1) {
        sleep(rest);
        let now = switches(pid)?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(())
}

/// Pids whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: i32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; the last one closes it. Then: state, parent.
    text.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// The command line of a process, to name it by.
pub(crate) fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").trim_end().chars().take(200).collect()
}

/// How many descriptors are open.
pub(crate) fn descriptors(pid: u32) -> Result<u64, String> {
    let path = directory(pid).join("fd");
    let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(entries.count() as u64)
}

/// Processor time used so far, in seconds: in user space and in the kernel, for the process alone.
pub(crate) fn processor_time(pid: u32) -> Result<f64, String> {
    let text = read(&directory(pid).join("schedstat"))?;
    let nanoseconds = text.split_whitespace().next();
    let nanoseconds: Option<u64> = nanoseconds.and_then(|word| word.parse().ok());
    nanoseconds
        .map(|nanoseconds| nanoseconds as f64 / 1e9)
        .ok_or_else(|| format!("process {pid} has no schedstat"))
}

/// The processor's name, or its architecture.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| {
        line.strip_prefix("model name")?
            .split_once(':')
            .map(|(_, name)| name.trim())
    });
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The kernel's version, without what its builder has added.
pub(crate) fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = release.trim().split('-').next();
    version.unwrap_or_default().to_owned()
}

/// Load average of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// Nanoseconds of the monotonic clock, which all processes share, clock_gettime(2).
pub(crate) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap_or(TimeSpec::new(0, 0));
    u64::try_from(Duration::from(now).as_nanos()).unwrap_or(0)
}
