//! The ways out of one execution, counted: its rights and limits, and what it used of them so far.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::recorder::Recorder;
use super::super::{Denied, Invocation, Level, LimitHit, Limits, Rights};
use super::Network;
use super::sockets::Names;

/// Different sentences about refusals that the log of one execution gets.
const TOLD: usize = 32;

/// One execution's ways out. Shared by its store and its connections, which run elsewhere.
pub(crate) struct Egress {
    pub(super) network: Arc<Network>,
    pub(super) rights: Arc<Rights>,
    pub(super) limits: Arc<Limits>,
    pub(super) invocation: Invocation,
    pub(super) names: Mutex<Names>,
    recorder: Arc<Recorder>,
    /// Bytes that cross the boundary; the meter charges them.
    bytes: Arc<AtomicU64>,
    used: Used,
    told: Mutex<HashSet<String>>,
}

/// Running totals.
#[derive(Default)]
struct Used {
    http_requests: AtomicU64,
    http_running: AtomicU64,
    http_concurrent: AtomicU64,
    tcp_connections: AtomicU64,
    tcp_bytes: AtomicU64,
    lookups: AtomicU64,
}

/// The totals at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct NetworkUsage {
    pub(crate) http_requests: u64,
    pub(crate) http_concurrent: u64,
    pub(crate) tcp_connections: u64,
    pub(crate) tcp_bytes: u64,
}

impl Egress {
    pub(crate) fn new(
        network: Arc<Network>,
        rights: Arc<Rights>,
        limits: Arc<Limits>,
        invocation: Invocation,
        (recorder, bytes): (Arc<Recorder>, Arc<AtomicU64>),
    ) -> Self {
        Self {
            network,
            rights,
            limits,
            invocation,
            names: Mutex::default(),
            recorder,
            bytes,
            used: Used::default(),
            told: Mutex::default(),
        }
    }

    pub(crate) fn usage(&self) -> NetworkUsage {
        let used = &self.used;
        NetworkUsage {
            http_requests: used.http_requests.load(Ordering::Relaxed),
            http_concurrent: used.http_concurrent.load(Ordering::Relaxed),
            tcp_connections: used.tcp_connections.load(Ordering::Relaxed),
            tcp_bytes: used.tcp_bytes.load(Ordering::Relaxed),
        }
    }

    /// Charges bytes that cross the boundary and pass through no stream, which would charge them: headers.
    pub(super) fn charge(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells of something refused: the operator by way of the rights, the author in the invocation's log, as the
    /// error codes of WASI have no room for a sentence.
    pub(super) fn deny(&self, kind: &'static str, what: String, why: Option<String>) {
        let sentence = self.rights.deny(&Denied { kind, what, why });
        self.tell(sentence);
    }

    /// Tells of a limit that was hit, in the invocation's log.
    pub(super) fn limit(&self, name: &str, allowed: u64, seen: u64) {
        let hit = LimitHit::new(name, allowed, seen);
        self.tell(format!("a limit was hit: {hit}; {}", hit.how_to_raise));
    }

    fn tell(&self, sentence: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && !told.contains(&sentence) {
            self.recorder.log(Level::Warn, &sentence, "");
            told.insert(sentence);
        }
    }

    /// Begins an HTTP request, if another one may begin.
    pub(super) fn begin_request(self: &Arc<Self>) -> Option<Slot> {
        let (used, limits) = (&self.used, &self.limits);
        let running = used.http_running.load(Ordering::Relaxed) + 1;
        if running > limits.http_concurrent {
            self.limit("http_concurrent", limits.http_concurrent, running);
            return None;
        }
        take(&used.http_requests, limits.http_requests)
            .map_err(|seen| self.limit("http_requests", limits.http_requests, seen))
            .ok()?;
        used.http_running.fetch_add(1, Ordering::Relaxed);
        used.http_concurrent.fetch_max(running, Ordering::Relaxed);
        Some(Slot(Arc::clone(self)))
    }

    /// Begins a TCP connection, if there may be another one.
    pub(super) fn begin_connection(&self) -> bool {
        let allowed = self.limits.tcp_connections;
        take(&self.used.tcp_connections, allowed)
            .map_err(|seen| self.limit("tcp_connections", allowed, seen))
            .is_ok()
    }

    /// Begins a lookup of a name: some for each connection that could follow.
    pub(super) fn begin_lookup(&self) -> bool {
        let allowed = self.limits.tcp_connections.saturating_mul(4);
        take(&self.used.lookups, allowed)
            .map_err(|_| {
                let connections = self.limits.tcp_connections;
                self.limit(
                    "tcp_connections",
                    connections,
                    connections.saturating_add(1),
                );
            })
            .is_ok()
    }

    /// Bytes that may still be sent or received over TCP.
    pub(super) fn tcp_bytes_left(&self) -> u64 {
        let used = self.used.tcp_bytes.load(Ordering::Relaxed);
        self.limits.tcp_bytes.saturating_sub(used)
    }

    /// Counts bytes that were sent or received over TCP. The streams that they pass through charge them.
    pub(super) fn add_tcp_bytes(&self, bytes: usize) {
        self.used
            .tcp_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Tells that more bytes were wanted over TCP than allowed.
    pub(super) fn tcp_bytes_hit(&self, wanted: usize) -> LimitHit {
        let allowed = self.limits.tcp_bytes;
        let used = self.used.tcp_bytes.load(Ordering::Relaxed);
        let seen = used.saturating_add(wanted as u64);
        self.limit("tcp_bytes", allowed, seen);
        LimitHit::new("tcp_bytes", allowed, seen)
    }
}

/// Takes one of so many; fails with the number that it would have been. Only the guest's own calls take.
fn take(used: &AtomicU64, allowed: u64) -> Result<(), u64> {
    let seen = used.load(Ordering::Relaxed) + 1;
    if seen > allowed {
        return Err(seen);
    }
    used.store(seen, Ordering::Relaxed);
    Ok(())
}

/// One HTTP request under way. Over when this is dropped.
pub(super) struct Slot(Arc<Egress>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.http_running.fetch_sub(1, Ordering::Relaxed);
    }
}
