//! The memory of the host that lives all the time.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::site::Host;

/// The last quarter of a run may be above the second one by a tenth and this many MiB: what allocators keep back after a
/// burst comes and goes.
const SLACK_MIB: f64 = 8.0;

/// Shorter runs are over before caches are warm: they are not judged.
pub(crate) const JUDGED_FROM: Duration = Duration::from_secs(300);

/// What was measured, second by second.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    mib: Vec<f64>,
    files: Vec<f64>,
}

/// What they come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flatness {
    /// The median of resident MiB in the second quarter.
    pub(crate) early_mib: f64,
    /// The median in the last quarter.
    pub(crate) late_mib: f64,
    /// The most that was seen.
    pub(crate) most_mib: f64,
    /// The medians of open files.
    pub(crate) early_files: f64,
    pub(crate) late_files: f64,
}

impl Samples {
    /// Measures until the host is gone or this is dropped.
    pub(crate) async fn take(host: &Host, samples: &std::sync::Mutex<Self>) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let measured = host.process.resident_kib().ok();
            let Some((kib, files)) = measured.zip(host.process.open_files().ok()) else {
                return;
            };
            let mut samples = samples
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            samples.mib.push(kib as f64 / 1024.0);
            samples.files.push(files as f64);
        }
    }

    /// The last one.
    pub(crate) fn last_mib(&self) -> f64 {
        self.mib.last().copied().unwrap_or_default()
    }

    /// What they come to.
    pub(crate) fn flatness(&self) -> Flatness {
        Flatness {
            early_mib: median(quarter(&self.mib, 1)),
            late_mib: median(quarter(&self.mib, 3)),
            most_mib: self.mib.iter().copied().fold(0.0, f64::max),
            early_files: median(quarter(&self.files, 1)),
            late_files: median(quarter(&self.files, 3)),
        }
    }
}

impl Flatness {
    /// What is wrong with it, if something is.
    pub(crate) fn problem(&self) -> Option<String> {
        let allowed = self.early_mib * 1.1 + SLACK_MIB;
        if self.late_mib > allowed {
            return Some(format!(
                "the memory of the host that lived all the time grew: a median of {:.1} MiB in the second quarter and {:.1} \
                 in the last, where {allowed:.1} are allowed",
                self.early_mib, self.late_mib
            ));
        }
        let allowed = self.early_files * 1.1 + 8.0;
        (self.late_files > allowed).then(|| {
            format!(
                "the open files of the host that lived all the time grew: {} in the second quarter and {} in the last, \
                 where {allowed:.0} are allowed",
                self.early_files, self.late_files
            )
        })
    }
}

/// Quarter number `number` of the samples, from 0.
fn quarter(samples: &[f64], number: usize) -> &[f64] {
    let (from, to) = (samples.len() * number / 4, samples.len() * (number + 1) / 4);
    samples.get(from..to).unwrap_or_default()
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(mib: impl Iterator<Item = u32>) -> Flatness {
        let mib: Vec<f64> = mib.map(f64::from).collect();
        let files = vec![30.0; mib.len()];
        Samples { mib, files }.flatness()
    }

    #[test]
    fn a_host_that_warms_up_and_stays_is_flat() {
        assert_eq!(of((0..400).map(|n| n.min(100))).problem(), None);
    }

    #[test]
    fn a_host_that_grows_is_not() {
        let problem = of((0..400).map(|n| 100 + n)).problem().unwrap();
        assert!(
            problem.contains("250.0") && problem.contains("450.0"),
            "{problem}"
        );
    }
}
