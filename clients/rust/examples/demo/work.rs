//! A thousand invocations on real inputs.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use celeriac_client::{Client, Outcome, Payload};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::json;

use crate::show;

/// One invocation that ended.
pub(crate) struct Done {
    pub(crate) task: &'static str,
    pub(crate) outcome: Arc<Outcome>,
    /// Where its output goes; most are only looked at.
    pub(crate) file: Option<String>,
}

/// What is run: the task, its input, the file for its output, and its share of every hundred.
struct Job {
    task: &'static str,
    input: Payload,
    file: Option<String>,
    share: usize,
}

/// Runs `total` invocations and awaits them all.
pub(crate) async fn run(client: &Client, inputs: &Path, total: usize) -> Result<Vec<Done>> {
    let jobs = jobs(inputs)?;
    let bar = show::bar(total);
    let mut awaited = FuturesUnordered::new();
    for (task, input, file) in deal(&jobs, total) {
        let handle = client.task(task)?.submit_payload(input).await?;
        awaited.push(async move { (task, handle.outcome().await, file) });
    }
    let mut done = Vec::with_capacity(total);
    while let Some((task, outcome, file)) = awaited.next().await {
        let outcome = outcome?;
        if let Some(failure) = &outcome.failure {
            bail!("{task} failed: {}", failure.message);
        }
        done.push(Done {
            task,
            outcome,
            file,
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(done)
}

/// Deals the jobs out by their shares, each job's file only once.
fn deal(
    jobs: &[Job],
    total: usize,
) -> impl Iterator<Item = (&'static str, Payload, Option<String>)> + '_ {
    let hundred: Vec<&Job> = jobs
        .iter()
        .flat_map(|job| std::iter::repeat_n(job, job.share))
        .collect();
    let mut files: HashMap<&str, &String> = jobs
        .iter()
        .filter_map(|job| job.file.as_ref())
        .map(|file| (file.as_str(), file))
        .collect();
    (0..total).filter_map(move |index| {
        // Seven has no factor in common with a hundred: kinds of work alternate.
        let job = hundred.get(index * 7 % hundred.len())?;
        let file = job
            .file
            .as_ref()
            .and_then(|file| files.remove(file.as_str()))
            .cloned();
        Some((job.task, job.input.clone(), file))
    })
}

fn jobs(inputs: &Path) -> Result<Vec<Job>> {
    let read = |name: &str| {
        let path = inputs.join(name);
        fs::read(&path).with_context(|| {
            format!(
                "{} cannot be read: run the demo from the checkout",
                path.display()
            )
        })
    };
    let text = |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let mut jobs = Vec::new();
    let mut add = |task, share, input, file: &str| {
        let file = (!file.is_empty()).then(|| file.to_owned());
        jobs.push(Job {
            task,
            input,
            file,
            share,
        });
    };
    let (alice, penguins) = (text("alice.txt")?, text("penguins.csv")?);
    let readme = fs::read_to_string("README.md")
        .context("README.md cannot be read: run the demo from the checkout")?;
    let mean =
        json!({"csv": penguins, "group_by": "species", "column": "body_mass_g", "op": "mean"});
    add(
        "basics/add",
        40,
        Payload::json(&json!({"a": 40, "b": 2}))?,
        "",
    );
    add(
        "basics/echo",
        20,
        Payload::json(&json!({"hello": "world"}))?,
        "",
    );
    add(
        "compute/primes",
        10,
        Payload::json(&json!({"up_to": 100_000}))?,
        "primes.json",
    );
    add(
        "compute/sha256",
        10,
        Payload::bytes("text/plain", alice.clone()),
        "alice.sha256.json",
    );
    add(
        "text/markdown-to-html",
        6,
        Payload::json(&json!({"markdown": readme}))?,
        "readme.html",
    );
    add(
        "text/word-stats",
        4,
        Payload::json(&json!({"text": alice, "min_length": 5}))?,
        "alice.words.json",
    );
    add(
        "data/aggregate",
        4,
        Payload::json(&mean)?,
        "penguins.mean-mass.json",
    );
    add(
        "data/csv-to-json",
        2,
        Payload::json(&json!({"csv": penguins}))?,
        "penguins.json",
    );
    for (name, media_type) in [
        ("chelsea.png", "image/png"),
        ("coffee.png", "image/png"),
        ("rocket.jpg", "image/jpeg"),
    ] {
        let input = Payload::bytes(media_type, read(name)?);
        let stem = name.split('.').next().unwrap_or(name);
        add(
            "images/thumbnail",
            1,
            input,
            &format!("{stem}.thumbnail.jpg"),
        );
    }
    add(
        "images/convert",
        1,
        Payload::bytes("image/png", read("chelsea.png")?),
        "chelsea.jpg",
    );
    Ok(jobs)
}

/// Writes the outputs that have a file.
pub(crate) fn save(done: &[Done], out: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for one in done {
        if let (Some(file), Some(output)) = (&one.file, &one.outcome.output) {
            let path = out.join(file);
            fs::write(&path, &output.data)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
