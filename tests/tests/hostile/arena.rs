//! Where attacks are fought: one host, one neighbour, and somebody who measures.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use celeriac_broker::EventKind;
use celeriac_client::{Client, Code, Error, Handle, Outcome, broker::BrokerError};
use celeriac_tests::{HostProcess, Stage};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    attack::{Attack, Expected},
    memory::{Watch, resident_kib},
    neighbour::Neighbour,
    surroundings::Surroundings,
};

/// On top of what an attack may take: reading, checking, compiling and storing it, on a machine that has two
/// processors and other work.
pub(crate) const SLACK: Duration = Duration::from_secs(8);
/// The neighbour's slowest call may take this, and ten times its slowest when alone.
pub(crate) const NEIGHBOUR: Duration = Duration::from_millis(1_000);
/// By how much the host may have grown after all attacks, when each is over.
pub(crate) const KEPT_MIB: u64 = 256;
/// Within which the host has given freed memory back.
const SWEEP: Duration = Duration::from_secs(15);
/// The most that a failure or a report may say about an attack: a person reads it.
const WORDS: usize = 64 << 10;
/// What the suite's host gives a compiler: less than usual, as some attacks use all of it.
pub(crate) const COMPILE: Duration = Duration::from_secs(20);
/// Slots of the host: more than copies of any attack.
const CONCURRENCY: &str = "24";
const WARM_UP: u32 = 300;

/// What one attack came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) name: &'static str,
    pub(crate) tries: String,
    pub(crate) outcome: String,
    pub(crate) took: Duration,
    pub(crate) growth_mib: u64,
    pub(crate) slowest: Duration,
    /// What is not as it should be.
    pub(crate) wrong: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            outcome,
            took,
            growth_mib,
            slowest,
            ..
        } = self;
        write!(
            f,
            "{name:24} {outcome:36} {took:>9.2?} {growth_mib:>5} MiB  neighbour {slowest:.2?}"
        )
    }
}

/// A host under attack.
pub(crate) struct Arena {
    stage: Stage,
    host: HostProcess,
    surroundings: Surroundings,
    /// The neighbour's own.
    client: Client,
    /// The neighbour's slowest call while nobody attacked.
    alone: Duration,
    resident_kib: u64,
}

impl Arena {
    pub(crate) async fn open(stage: Stage, attacks: &[&Attack]) -> Result<Self> {
        // The neighbour's module is compiled under the usual limits.
        let usual = stage.host(&[]).await?;
        stage.push(&["basics"]).await?;
        usual.kill();
        let compile = format!("{}s", COMPILE.as_secs());
        let cache = stage.dir.path().join("cache").display().to_string();
        let surroundings = Surroundings::build(stage.dir.path()).await?;
        surroundings.hide_a_key(&stage.client).await?;
        let settings = surroundings.settings(attacks)?.display().to_string();
        let dns = surroundings.dns();
        let environment = [
            ("CELERIAC_COMPILE_TIMEOUT", compile.as_str()),
            ("CELERIAC_CACHE_DIR", &cache),
            ("CELERIAC_DNS", &dns),
        ];
        let arguments = ["--concurrency", CONCURRENCY, "--config", &settings];
        let host = stage.host_with(&arguments, &environment).await?;
        let client = Client::connect(&stage.url).await?;
        let alone = Neighbour::undisturbed(&client, WARM_UP).await?.slowest();
        let resident_kib = resident_kib(host.pid());
        eprintln!(
            "alone, the neighbour's slowest of {WARM_UP} calls took {alone:?}; the host has {} MiB",
            resident_kib >> 10
        );
        Ok(Self {
            stage,
            host,
            surroundings,
            client,
            alone,
            resident_kib,
        })
    }

    /// One attack with everything around it.
    pub(crate) async fn fight(&mut self, attack: &Attack) -> Result<Report> {
        let wasm = attack.source.bytes()?;
        let before = resident_kib(self.host.pid());
        let watch = Watch::start(self.host.pid());
        let neighbour = Neighbour::start(self.client.clone());
        let started = Instant::now();
        let bound = attack.within + SLACK;
        let ended = self.attack(attack, wasm).await;
        let took = started.elapsed();
        let calls = neighbour.stop().await?;
        let growth_mib = watch.peak_kib().saturating_sub(before) >> 10;
        drop(watch);
        let (outcome, mut wrong) = ended?;
        wrong.extend(self.surroundings.harm(&self.client).await?);
        if took > bound {
            wrong.push(format!("it took {took:?}, {bound:?} are allowed"));
        }
        if growth_mib > attack.growth_mib {
            wrong.push(format!(
                "the host grew by {growth_mib} MiB, {} are allowed",
                attack.growth_mib
            ));
        }
        let patience = NEIGHBOUR + self.alone * 10;
        if calls.slowest() > patience {
            wrong.push(format!(
                "the slowest of the neighbour's {} calls took {:?}, {patience:?} are allowed",
                calls.count(),
                calls.slowest()
            ));
        }
        Ok(Report {
            name: attack.name,
            tries: attack.source.tries()?,
            outcome,
            took,
            growth_mib,
            slowest: calls.slowest(),
            wrong,
        })
    }

    /// Uploads and runs it: what came of it, and what was wrong with that.
    async fn attack(&self, attack: &Attack, wasm: Vec<u8>) -> Result<(String, Vec<String>)> {
        let mut wrong = Vec::new();
        let pushed = self.stage.client.push(wasm, attack.name).await;
        match (pushed, attack.expected) {
            (
                Err(refusal @ (Error::Refused(_) | Error::Broker(BrokerError::TooLarge { .. }))),
                expected,
            ) => {
                let report = refusal.to_string();
                match expected {
                    Expected::Refused(words) if report.contains(words) => {}
                    _ => wrong.push(format!(
                        "{expected:?} expected, but refused: {}",
                        short(&report)
                    )),
                }
                check_words(&report, &mut wrong);
                return Ok(("upload refused".to_owned(), wrong));
            }
            (Err(error), _) => bail!(
                "the upload did not end with a report: {}",
                short(&error.to_string())
            ),
            (Ok(_), Expected::Refused(words)) => {
                wrong.push(format!(
                    "admitted; it should have been refused with `{words}`"
                ));
            }
            (Ok(_), _) => {}
        }
        let mut said = String::new();
        for handle in self.submit(attack).await? {
            if let Some(delay) = attack.cancel_after {
                tokio::time::sleep(delay).await;
                handle.cancel().await?;
            }
            // Longer than it may take, so that what took too long is still measured.
            let patience = (attack.within + SLACK) * 3;
            let Ok(outcome) = timeout(patience, handle.outcome()).await else {
                handle.cancel().await?;
                bail!("it has not ended within {patience:?}");
            };
            let outcome = outcome?;
            said = describe(&outcome);
            let mut told = self.watchers_are_well(&handle, &mut wrong).await;
            check(attack.expected, &outcome, &mut wrong);
            let output = outcome.output.as_ref().map(|output| &output.data[..]);
            told += &String::from_utf8_lossy(output.unwrap_or_default());
            told += &format!("{outcome:?}");
            if attack.hides.is_some_and(|secret| told.contains(secret)) {
                wrong.push(format!("it told its secret: {}", short(&told)));
            }
        }
        Ok((said, wrong))
    }

    async fn submit(&self, attack: &Attack) -> Result<Vec<Handle>> {
        let mut call = self.stage.client.task(&format!("{}/attack", attack.name))?;
        let mut options = celeriac_broker::Options::default();
        for (name, value) in &attack.limits {
            match *name {
                "timeout" => options.timeout_ms = Some(*value),
                "fuel" => options.fuel = Some(*value),
                "memory_bytes" => options.memory_bytes = Some(*value),
                name => drop(options.limits.insert(name.to_owned(), *value)),
            }
        }
        call = call.options(options);
        let inputs = (0..attack.copies).map(|_| Value::Null);
        call.submit_all(inputs)
            .await
            .context("the attack was not accepted")
    }

    /// Whoever follows an attacker's reports must be able to read them all; their beginnings, one after the other.
    async fn watchers_are_well(&self, handle: &Handle, wrong: &mut Vec<String>) -> String {
        let mut told = String::new();
        let read = async {
            let watcher = self.client.handle(handle.id());
            watcher.status().await?;
            let mut events = watcher.events().await?;
            while let Some(event) = events.next().await? {
                told += &match event.kind {
                    EventKind::Chunk(chunk) => short(&String::from_utf8_lossy(&chunk.data)),
                    other => short(&format!("{other:?}")),
                };
                told.push('\n');
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = read.await {
            wrong.push(format!(
                "its reports cannot be read: {}",
                short(&error.to_string())
            ));
        }
        told
    }

    /// What is wrong after all attacks.
    pub(crate) async fn close(self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        Neighbour::undisturbed(&self.client, WARM_UP).await?;
        let grown = || resident_kib(self.host.pid()).saturating_sub(self.resident_kib) >> 10;
        // What was freed goes back to the system some seconds later.
        let settled = Instant::now() + SWEEP;
        while grown() > KEPT_MIB && Instant::now() < settled {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let grown = grown();
        eprintln!("after all attacks the host has {grown} MiB more than before");
        if grown > KEPT_MIB {
            wrong.push(format!(
                "after all attacks the host keeps {grown} MiB, {KEPT_MIB} are allowed"
            ));
        }
        let hosts = self.stage.client.broker().hosts().await?;
        if !hosts.iter().any(|host| host.pid == self.host.pid()) {
            wrong.push("the host is gone".to_owned());
        }
        Ok(wrong)
    }
}

/// An outcome in a few words.
fn describe(outcome: &Outcome) -> String {
    let limit = outcome
        .failure
        .as_ref()
        .and_then(|failure| failure.limit.as_ref());
    match limit {
        Some(limit) => format!("{} ({})", outcome.code, limit.name),
        None => outcome.code.to_string(),
    }
}

/// Holds an outcome against what was expected.
fn check(expected: Expected, outcome: &Outcome, wrong: &mut Vec<String>) {
    let failure = outcome.failure.clone().unwrap_or_default();
    let limit = failure.limit.as_ref().map(|limit| limit.name.as_str());
    let is_right = match expected {
        Expected::Ends(code) => outcome.code == code,
        Expected::Hits(code, name) => outcome.code == code && limit == Some(name),
        Expected::FindsNothing => {
            let found = outcome
                .output
                .as_ref()
                .and_then(|output| output.parse::<Vec<String>>().ok());
            outcome.code == Code::Ok && found.is_some_and(|found| found.is_empty())
        }
        Expected::Refused(_) => false,
    };
    let words = format!(
        "{}{}{:?}{:?}",
        failure.kind, failure.message, failure.details, failure.trace
    );
    if !is_right {
        let output = outcome
            .output
            .as_ref()
            .map(|output| String::from_utf8_lossy(&output.data).into_owned());
        let output = short(&output.unwrap_or_default());
        wrong.push(format!(
            "{expected:?} expected, but {}: {} {output}",
            describe(outcome),
            short(&words)
        ));
    }
    check_words(&words, wrong);
}

fn check_words(words: &str, wrong: &mut Vec<String>) {
    if words.len() > WORDS {
        wrong.push(format!(
            "its end is told in {} bytes, {WORDS} are allowed",
            words.len()
        ));
    }
}

fn short(text: &str) -> String {
    text.chars().take(600).collect()
}
