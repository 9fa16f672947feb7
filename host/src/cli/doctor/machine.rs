//! This machine's part of `celeriac doctor`: address space, clock, directories.

use std::{fs, io, path::Path};

use celeriac::{
    engine::EngineConfig,
    process::{self, Hardening},
    settings::Settings,
};
use celeriac_broker::{Check, Verdict};
use rustix::process::{Resource, getrlimit};

use super::{check, good};
use crate::cli::figures::{now_ms, size};

/// Address space of one linear memory: what wasm can address, so that the hardware checks bounds.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Mappings that the kernel keeps for one running invocation at most: image, heap and guard of each
/// memory, tables, and stack.
const MAPPINGS_PER_SLOT: u64 = 8;
/// No clock that is right shows an earlier time: 2025-01-01, in milliseconds since the Unix epoch.
const EARLIEST_MS: u64 = 1_735_689_600_000;

/// Every check of this machine.
pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![address_space(settings), mappings(settings), clock()];
    if settings.broker.starts_with("embedded:") {
        checks.push(directory("data_dir", &settings.data_dir));
    }
    checks.push(directory("cache_dir", &settings.cache_dir));
    checks.extend(process::hardening().into_iter().map(hardened));
    checks
}

/// What a process that runs tasks gave up; this one did the same.
fn hardened(row: Hardening) -> Check {
    match row.remedy {
        None => good(row.name, row.found),
        Some(remedy) => check(row.name, Verdict::Warning, row.found, remedy),
    }
}

/// Whether the pool's slots fit into the address space of one process.
fn address_space(settings: &Settings) -> Check {
    let slots = u64::from(settings.concurrency);
    let memories = u64::from(EngineConfig::default().memories_per_invocation);
    let need = slots
        .saturating_mul(memories)
        .saturating_mul(MEMORY_RESERVATION);
    let text = format!("{slots} slots reserve {} of address space", size(need));
    let user_bits = virtual_bits().saturating_sub(1);
    let room = 1_u64.checked_shl(user_bits).unwrap_or(u64::MAX);
    if let Some(limit) = getrlimit(Resource::As).current
        && limit < need
    {
        let remedy =
            "`ulimit -v unlimited`, LimitAS=infinity in the service, or a smaller `concurrency`";
        return check(
            "address space",
            Verdict::Bad,
            format!("{text}, the process may have {}", size(limit)),
            remedy,
        );
    }
    // The rest of the process needs some of it too.
    if need > room / 8 * 7 {
        let most = room / 8 * 7 / (memories * MEMORY_RESERVATION);
        let found = format!("{text}, this processor has {}", size(room));
        return check(
            "address space",
            Verdict::Bad,
            found,
            format!("set `concurrency` to {most} or less"),
        );
    }
    good("address space", format!("{text} of {}", size(room)))
}

/// Bits of a virtual address, as the kernel tells; 48 is what every 64-bit processor has.
fn virtual_bits() -> u32 {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("address sizes"));
    let bits = line.and_then(|line| {
        line.rsplit_once(',')?
            .1
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    // Linux gives a process more than 47 bits only when it asks for them, and the pool does not.
    bits.unwrap_or(48).min(48)
}

/// Whether the kernel keeps as many mappings for one process as the slots can need.
fn mappings(settings: &Settings) -> Check {
    let need = u64::from(settings.concurrency).saturating_mul(MAPPINGS_PER_SLOT);
    let limit = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    match limit.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(limit) if limit < need => check(
            "mappings",
            Verdict::Warning,
            format!(
                "{} slots can need {need} memory mappings, the kernel allows {limit}",
                settings.concurrency
            ),
            format!(
                "`sysctl -w vm.max_map_count={}`, or a smaller `concurrency`",
                need.next_power_of_two()
            ),
        ),
        Some(limit) => good(
            "mappings",
            format!("up to {need} of {limit} that the kernel allows"),
        ),
        None => good("mappings", "this system does not tell how many it allows"),
    }
}

fn clock() -> Check {
    let now = now_ms();
    if now < EARLIEST_MS {
        let remedy =
            "set it, such as with `timedatectl set-ntp true`: ids and ages are made from it";
        return check(
            "clock",
            Verdict::Bad,
            "this machine's clock is years behind",
            remedy,
        );
    }
    // Leases and expiry go by the broker's clock alone; this one only dates ids and ages.
    let synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    match synchronised {
        true => good("clock", "synchronised"),
        false => good(
            "clock",
            "plausible; leases and expiry go by the broker's clock",
        ),
    }
}

/// Whether files can be written in a directory, which is made where it is missing.
fn directory(name: &str, path: &Path) -> Check {
    match writable(path) {
        Ok(()) => good(name, format!("{} can be written", path.display())),
        Err(error) => check(
            name,
            Verdict::Bad,
            format!("{} cannot be written: {error}", path.display()),
            format!("give this user the right, or set `{name}` to another directory"),
        ),
    }
}

fn writable(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let probe = path.join(format!(".celeriac-doctor-{}", std::process::id()));
    fs::write(&probe, b"")?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_is_made_and_one_in_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            directory("data_dir", &dir.path().join("a/b")).verdict,
            Verdict::Good
        );
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        let refused = directory("data_dir", &file.join("below"));
        assert_eq!(refused.verdict, Verdict::Bad);
        assert!(refused.remedy.contains("data_dir"), "{}", refused.remedy);
        assert_eq!(fs::read_dir(dir.path().join("a/b")).unwrap().count(), 0);
    }

    #[test]
    fn too_many_slots_for_the_processor_come_with_the_number_that_fits() {
        let set = |text: &str| {
            let flags = [
                celeriac::settings::Override::new("--set", "concurrency", text),
                celeriac::settings::Override::new("--set", "data_dir", "/d"),
                celeriac::settings::Override::new("--set", "cache_dir", "/c"),
            ];
            Settings::load(None, &flags).unwrap()
        };
        assert_eq!(address_space(&set("64")).verdict, Verdict::Good);
        let refused = address_space(&set("100000"));
        assert_eq!(refused.verdict, Verdict::Bad);
        assert!(
            refused.remedy.starts_with("set `concurrency` to 14336"),
            "{}",
            refused.remedy
        );
    }
}
