//! The host's resident memory, watched from outside.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep},
    time::Duration,
};

/// Between two looks: a host cannot fill more than some megabytes in it.
const PERIOD: Duration = Duration::from_millis(2);

/// Looks at a process's resident memory until dropped.
pub(crate) struct Watch {
    peak: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Self {
        let (peak, is_over) = (
            Arc::new(AtomicU64::new(resident_kib(pid))),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, end) = (peak.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Relaxed) {
                seen.fetch_max(resident_kib(pid), Relaxed);
                sleep(PERIOD);
            }
        });
        Self {
            peak,
            is_over,
            thread: Some(thread),
        }
    }

    /// The most that was resident so far, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.peak.load(Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// KiB resident; 0 when the process is gone.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * rustix::param::page_size() as u64 / 1024
}
