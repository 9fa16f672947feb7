//! What is fuzzed. `targets` holds the functions, which the workspace's tests run too; `fuzz_targets` hands each to
//! libFuzzer. `docs/fuzzing.md` says how to run them and what each asserts.

pub mod targets;
