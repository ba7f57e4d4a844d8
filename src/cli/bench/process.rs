//! A process that is measured: what Linux knows about its CPU time, memory and writes.

use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

/// What a process used since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// CPU time in user and system mode.
    pub(super) cpu: Duration,
    /// Bytes that it caused to be written to storage.
    pub(super) written: u64,
    /// Largest resident memory, bytes.
    pub(super) peak_memory: u64,
}

impl Usage {
    /// What was used since an earlier look; the largest memory is that of the whole time.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written: self.written.saturating_sub(earlier.written),
            peak_memory: self.peak_memory,
        }
    }
}

/// Reads what a process used from `/proc`.
pub(super) fn usage(pid: u32) -> Result<Usage> {
    let proc = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| {
        let path = proc.join(name);
        std::fs::read_to_string(&path)
            .with_context(|| format!("{} cannot be read; bench needs Linux", path.display()))
    };
    let stat = read("stat")?;
    // The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5).
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field =
        |n: usize| after.split_whitespace().nth(n).and_then(|text| text.parse::<u64>().ok());
    let ticks = field(11).unwrap_or(0).saturating_add(field(12).unwrap_or(0));
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let cpu =
        Duration::from_millis(ticks.saturating_mul(1000).checked_div(per_second).unwrap_or(0));
    Ok(Usage {
        cpu,
        written: number_after(&read("io")?, "write_bytes:"),
        peak_memory: number_after(&read("status")?, "VmHWM:").saturating_mul(1024),
    })
}

fn number_after(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// A child that is killed when it is dropped: a bench that fails leaves nothing running.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
