//! Sorting lines by merging sorted runs that wait in files: the input, the output and one run are in memory, not
//! all the lines as objects.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use celeriac_guest::{Bytes, Context, Failure, task};

/// Where the host puts the directory that is this attempt's own.
const SCRATCH: &str = "/tmp";

/// Bytes of one run: small beside the memory that a task has by default.
const RUN_BYTES: usize = 1024 * 1024;

/// Sorts the lines of a text by their bytes, through files in the scratch directory.
#[task(
    name = "sort-lines",
    timeout = "5m",
    needs(scratch = "runs to merge"),
    limits(scratch_bytes = "64MiB", scratch_files = 100)
)]
fn sort_lines(ctx: &Context, text: Bytes) -> Result<Bytes, Failure> {
    let sorted =
        sort(ctx, Path::new(SCRATCH), &text.data, RUN_BYTES).map_err(|error| failure(&error))?;
    Ok(Bytes::new("text/plain; charset=utf-8", sorted))
}

/// A write over a limit arrives as an I/O error without a name, as today's libc loses it; the task's log has it.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::QuotaExceeded => Failure::new("limit", "the text needs more scratch files"),
        io::ErrorKind::NotFound => {
            Failure::new("no-scratch", "there is no /tmp: was `scratch` granted?")
        }
        _ => Failure::new("io", format!("the scratch directory failed: {error}")),
    }
}

fn sort(ctx: &Context, scratch: &Path, text: &[u8], run_bytes: usize) -> io::Result<Vec<u8>> {
    let runs = write_runs(ctx, scratch, text, run_bytes)?;
    merge(&runs, text.len())
}

/// Sorts pieces of at most `run_bytes`, each into a file of its own.
fn write_runs(
    ctx: &Context,
    scratch: &Path,
    text: &[u8],
    run_bytes: usize,
) -> io::Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(end_of_run(rest, run_bytes));
        let mut lines: Vec<_> = piece.split_inclusive(|byte| *byte == b'\n').collect();
        lines.sort_unstable_by_key(|line| bare(line));
        let path = scratch.join(format!("run-{}", runs.len()));
        let mut file = BufWriter::new(File::create(&path)?);
        for line in lines {
            file.write_all(bare(line))?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        runs.push(path);
        rest = after;
        ctx.progress(text.len() - rest.len(), text.len());
    }
    Ok(runs)
}

/// Where the last line ends that still fits, or the first where none does.
fn end_of_run(text: &[u8], run_bytes: usize) -> usize {
    let is_end = |byte: &u8| *byte == b'\n';
    let head = text.get(..run_bytes).unwrap_or(text);
    if head.len() == text.len() {
        return text.len();
    }
    match head.iter().rposition(is_end) {
        Some(last) => last + 1,
        None => text
            .iter()
            .position(is_end)
            .map_or(text.len(), |end| end + 1),
    }
}

fn bare(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

/// Takes the least of all runs' first lines, again and again.
fn merge(runs: &[PathBuf], bytes: usize) -> io::Result<Vec<u8>> {
    let mut readers = Vec::with_capacity(runs.len());
    let mut firsts = BinaryHeap::with_capacity(runs.len());
    for (index, run) in runs.iter().enumerate() {
        let mut reader = BufReader::new(File::open(run)?);
        if let Some(line) = next_line(&mut reader)? {
            firsts.push(Reverse((line, index)));
        }
        readers.push(reader);
    }
    let mut sorted = Vec::with_capacity(bytes + 1);
    while let Some(Reverse((line, index))) = firsts.pop() {
        sorted.extend_from_slice(&line);
        sorted.push(b'\n');
        let Some(reader) = readers.get_mut(index) else {
            continue;
        };
        if let Some(line) = next_line(reader)? {
            firsts.push(Reverse((line, index)));
        }
    }
    for run in runs {
        fs::remove_file(run)?;
    }
    Ok(sorted)
}

fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    line.truncate(bare(&line).len());
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(text: &str, run_bytes: usize) -> String {
        let scratch = tempfile::tempdir().unwrap();
        let sorted = sort(&Context::fake(), scratch.path(), text.as_bytes(), run_bytes).unwrap();
        assert_eq!(
            fs::read_dir(scratch.path()).unwrap().count(),
            0,
            "runs are removed"
        );
        String::from_utf8(sorted).unwrap()
    }

    #[test]
    fn sorts_over_many_runs() {
        let lines: Vec<String> = (0..500).map(|n| format!("{:03}", n * 7 % 500)).collect();
        let expected: String = (0..500).map(|n| format!("{n:03}\n")).collect();
        assert_eq!(sorted(&lines.join("\n"), 64), expected);
    }

    #[test]
    fn keeps_equal_and_empty_lines_and_ends_the_last() {
        assert_eq!(sorted("b\n\na\nb", 2), "\na\nb\nb\n");
        assert_eq!(sorted("", 2), "");
    }

    #[test]
    fn takes_a_line_that_is_longer_than_a_run() {
        assert_eq!(sorted("zzzzzzzz\na\n", 3), "a\nzzzzzzzz\n");
    }

    #[test]
    fn says_when_there_is_no_scratch_directory() {
        let none = Path::new("/nowhere/at/all");
        let error = sort(&Context::fake(), none, b"a", 1).unwrap_err();
        assert_eq!(failure(&error).kind, "no-scratch");
    }
}
