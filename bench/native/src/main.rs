//! Runs the sample tasks natively, for comparison with the same code in a sandbox.
//!
//! Reads `TASK<tab>CONTENT-TYPE<tab>FILE` lines on stdin, runs the task on the file's content, and answers
//! each with `NANOSECONDS<tab>LENGTH<tab>HASH`: the time that it took, and what identifies the output.

use std::{
    io::{self, BufRead as _, Write as _},
    time::Instant,
};

use celeriac_guest::{Bytes, Payload, testing};

// Linked for the tasks that they register.
use compute as _;
use images as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in io::stdin().lock().lines() {
        let answer = run(&line?)?;
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn run(line: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut words = line.split('\t');
    let (Some(task), Some(content_type), Some(file)) = (words.next(), words.next(), words.next()) else {
        return Err(format!("`{line}` is not TASK<tab>CONTENT-TYPE<tab>FILE").into());
    };
    let data = std::fs::read(file)?;
    let input = match content_type {
        "json" => Payload::Json(String::from_utf8(data)?),
        _ => Payload::Bytes(Bytes::new(content_type, data)),
    };
    let began = Instant::now();
    let output = testing::run(task, input).map_err(|failure| failure.message)?;
    let nanoseconds = began.elapsed().as_nanos();
    let bytes = match output {
        Payload::Json(text) => text.into_bytes(),
        Payload::Bytes(bytes) => bytes.data,
    };
    Ok(format!("{nanoseconds}\t{}\t{:016x}", bytes.len(), hash(&bytes)))
}

/// FNV-1a: enough to see that two outputs are the same.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
