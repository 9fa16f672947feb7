//! Time as tests set it, for the model check: nothing falls due by itself, and clocks jump.
//!
//! Without the feature `testing`, and in a process that has not asked for it, nothing of this is there: scripts are
//! what their files say, and clocks are the server's and the machine's.

#[cfg(feature = "testing")]
static IS_SIMULATED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Stands in front of each script of a process that simulates time: `TIME` is as many seconds later as `skew` says.
/// Whoever calls something else calls the server.
pub(crate) const SHIM: &str = "
local server = redis
local redis = {
  pcall = server.pcall,
  call = function(command, ...)
    local answer = server.call(command, ...)
    if command == 'TIME' then answer[1] = answer[1] + (server.call('GET', KEYS[1] .. 'skew') or 0) end
    return answer
  end,
}
";

/// Whether this process sets its brokers' clocks.
pub(crate) fn is_simulated() -> bool {
    #[cfg(feature = "testing")]
    return IS_SIMULATED.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "testing"))]
    false
}

/// Has this process set its brokers' clocks. Must be called before the first broker is opened.
#[cfg(feature = "testing")]
pub(crate) fn simulate() {
    IS_SIMULATED.store(true, std::sync::atomic::Ordering::Relaxed);
}
