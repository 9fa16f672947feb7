//! A short smoke of every fuzz target: its committed corpus, then mutations of it from a fixed seed.
//! `make fuzz` runs them for long, under libFuzzer. `CELERIAC_FUZZ_SEED` repeats a run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    reason = "the targets fail by panicking, and are a library elsewhere"
)]

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use targets::{TARGETS, Target};

/// A small generator (SplitMix64): the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// Numbers at which code goes wrong.
const BORDERS: &[u32] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX,
];

/// A few changes to `data`, with pieces of `other`.
fn mutate(numbers: &mut Numbers, data: &mut Vec<u8>, other: &[u8], max_bytes: usize) {
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(data.len() + 1);
        match numbers.below(7) {
            0 if at < data.len() => data[at] ^= 1 << numbers.below(8),
            1 if at < data.len() => data[at] = numbers.next() as u8,
            2 => data.insert(at, numbers.next() as u8),
            3 => drop(data.drain(at..(at + numbers.below(16)).min(data.len()))),
            4 if at + 4 <= data.len() => {
                let border = BORDERS[numbers.below(BORDERS.len())];
                data[at..at + 4].copy_from_slice(&border.to_le_bytes());
            }
            5 => {
                let from = numbers.below(other.len() + 1);
                let until = (from + numbers.below(64)).min(other.len());
                data.splice(at..at, other[from..until].iter().copied());
            }
            _ => data.truncate(at.max(1)),
        }
    }
    data.truncate(max_bytes);
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target.name);
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// Runs one input; a failure shows it, so that it can be put into the corpus.
fn run(target: &Target, data: &[u8], what: &str) {
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    assert!(
        ran.is_ok(),
        "{} failed on {what}: b\"{}\"",
        target.name,
        data.escape_ascii()
    );
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus(target);
    for (index, data) in corpus.iter().enumerate() {
        run(target, data, &format!("file {index} of its corpus"));
    }
    let seed = std::env::var("CELERIAC_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut numbers = Numbers(seed);
    for count in 0..target.smoke {
        let mut data = corpus[numbers.below(corpus.len())].clone();
        let other = &corpus[numbers.below(corpus.len())];
        mutate(&mut numbers, &mut data, other, target.max_bytes);
        run(target, &data, &format!("mutation {count} of seed {seed}"));
    }
}

#[test]
fn every_target_has_its_test() {
    let tests = include_str!("fuzz.rs");
    for target in TARGETS {
        assert!(
            tests.contains(&format!("smoke(\"{}\")", target.name)),
            "{}",
            target.name
        );
    }
}

#[test]
fn upload_check_answers_for_any_bytes() {
    smoke("upload");
}

#[test]
fn a_guest_may_say_anything_across_the_boundary() {
    smoke("boundary");
}

#[test]
fn a_module_may_describe_itself_as_anything() {
    smoke("describe");
}

#[test]
fn envelopes_are_read_or_refused() {
    smoke("envelope");
}

#[test]
fn settings_are_read_or_refused() {
    smoke("settings");
}

#[test]
fn patterns_and_limits_mean_what_they_say() {
    smoke("patterns");
}

#[test]
fn artifacts_are_the_hosts_own_or_thrown_away() {
    smoke("artifact");
}

#[test]
fn a_policy_gives_nothing_unasked_and_nothing_ungranted() {
    smoke("policy");
}

#[test]
fn a_url_is_one_destination_to_every_reader() {
    smoke("destination");
}
