//! The soak from its start to its verdict.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use celeriac_broker::{Payload, Timing};
use celeriac_client::{CatchUp, Client, Filter, Overlap, Schedule};
use celeriac_tests::until;
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio::time::{interval, sleep};

use crate::{
    account::Account,
    chaos::{Chaos, Faults},
    keys,
    load::{self, Stage},
    memory::{JUDGED_FROM, Samples},
    options::Options,
    report::Report,
    site::{self, Host, Site},
};

/// How long what was accepted may take to end when the load is over.
const DRAIN: Duration = Duration::from_secs(180);

/// From one line about the progress to the next.
const LINES: Duration = Duration::from_secs(5);

/// Soaks; whether all is well.
pub(crate) async fn soak(options: &Options) -> Result<bool> {
    eprintln!("soaking for {:?} with seed {}", options.time, options.seed);
    let mut site = Site::new(options)?;
    let mut survivor = site.host()?;
    let mortals = vec![site.host()?, site.host()?];
    let client = site.client(options.ttl).await?;
    let prepared = async {
        site::prepare(&client, options.rate).await?;
        start_schedules(&client).await
    };
    tokio::select! {
        prepared = prepared => prepared?,
        ended = survivor.end() => return Err(ended),
    }
    let keys_before = keys::count(&site.url).await?;
    let (account, faults) = (Arc::new(Account::new(options.ttl)), Faults::default());
    let stage = Stage {
        client: client.clone(),
        account: account.clone(),
    };
    let samples = Mutex::new(Samples::default());
    let began = Instant::now();
    let run = Run {
        options,
        end: began + options.time,
        stage: &stage,
        faults: &faults,
        samples: &samples,
        is_over: AtomicBool::new(false),
    };
    let auditor = site.client(options.ttl).await?;
    let chaos = Chaos::new(site, mortals, faults.clone(), options.seed.wrapping_add(1));
    let chaos = run.go(chaos, &auditor, &survivor).await?;
    let soaked = began.elapsed();
    if let Some(status) = survivor.process.ended()? {
        let words = survivor.last_words();
        account.problem(format!(
            "the host that nobody harmed has ended, {status}:\n{words}"
        ));
    }
    let flatness = samples
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .flatness();
    if options.time >= JUDGED_FROM
        && let Some(problem) = flatness.problem()
    {
        account.problem(problem);
    }
    site::clear(client.broker().as_ref()).await?;
    let url = chaos.site.url.clone();
    let patience = options.ttl + Duration::from_secs(90);
    for line in keys::left_over(&url, patience).await? {
        account.problem(line);
    }
    let keys_after = keys::count(&url).await?;
    let report = Report {
        options,
        soaked,
        figures: account.figures(),
        faults: faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone(),
        flatness,
        keys: (keys_before, keys_after),
    };
    report.print()?;
    Ok(report.is_good())
}

/// What runs beside each other.
struct Run<'a> {
    options: &'a Options,
    end: Instant,
    stage: &'a Stage,
    faults: &'a Faults,
    samples: &'a Mutex<Samples>,
    /// Whether the load and the faults are over.
    is_over: AtomicBool,
}

impl Run<'_> {
    /// Loads and harms until the end, and then waits until all has ended.
    async fn go(&self, chaos: Chaos, auditor: &Client, survivor: &Host) -> Result<Chaos> {
        let Self { options, end, .. } = self;
        let account = &self.stage.account;
        let harm = async {
            let (loaded, chaos) = tokio::join!(
                load::run(self.stage, options.rate, options.seed, *end),
                chaos.run(options, *end)
            );
            loaded?;
            let chaos = chaos?;
            stop_schedules(&self.stage.client).await?;
            self.is_over.store(true, Ordering::Release);
            eprintln!("the load is over; everything has {DRAIN:?} to end");
            Ok::<_, anyhow::Error>(chaos)
        };
        let is_over = || self.is_over.load(Ordering::Acquire);
        let watched = async {
            tokio::select! {
                never = self.tell() => never,
                () = Samples::take(survivor, self.samples) => std::future::pending().await,
            }
        };
        let all = async { tokio::try_join!(harm, load::audit(auditor, account, &is_over, DRAIN)) };
        let chaos = tokio::select! {
            never = watched => match never {},
            ended = all => match ended {
                Ok((chaos, ())) => chaos,
                Err(error) => return Err(error),
            },
        };
        rest(auditor, account).await?;
        Ok(chaos)
    }

    /// Says how it goes, now and then.
    async fn tell(&self) -> std::convert::Infallible {
        let (began, mut ticks) = (Instant::now(), interval(LINES));
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let figures = self.stage.account.figures();
            let (open, oldest) = self.stage.account.open();
            let oldest = oldest.map_or_else(String::new, |(id, kind, age)| {
                format!(", the oldest for {:.0} s ({kind} {id})", age.as_secs_f64())
            });
            let mib = self
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .last_mib();
            let faults: u64 = self
                .faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .values()
                .sum();
            eprintln!(
                "{:>5} s: {} accepted, {} closed, {open} open{oldest}; {faults} faults; {mib:.0} MiB; {} problems",
                began.elapsed().as_secs(),
                figures.accepted,
                figures.ended,
                figures.problem_count
            );
        }
    }
}

/// Nothing waits or runs anywhere, what nobody has submitted by hand included; and every record that is there has ended.
async fn rest(client: &Client, account: &Account) -> Result<()> {
    let still = until(Duration::from_secs(60), "the queues are empty", || async {
        let queues = client.broker().queues().await?;
        let sum = queues
            .iter()
            .map(|queue| queue.queued + queue.blocked + queue.scheduled + queue.running);
        Ok(sum.sum::<u64>() == 0)
    });
    if let Err(error) = still.await {
        let queues = client.broker().queues().await?;
        account.problem(format!("{error}: {queues:?}"));
    }
    let unfinished = client.listing(Filter::default().states(Filter::UNFINISHED));
    let unfinished: Vec<_> = unfinished.try_collect().await?;
    for status in unfinished.iter().take(10) {
        account.problem(format!("left behind: {status:?}"));
    }
    Ok(())
}

/// Two schedules: one that fires often, and one whose runs take longer than its interval.
async fn start_schedules(client: &Client) -> Result<()> {
    for (name, task, input, every_ms, overlap) in [
        ("often", "basics/noop", json!(null), 500, Overlap::Allow),
        (
            "slow",
            "basics/sleep",
            json!({ "seconds": 1.5 }),
            1000,
            Overlap::QueueOne,
        ),
    ] {
        let schedule = Schedule {
            name: name.to_owned(),
            task: task.parse()?,
            input: Payload::json(&input)?,
            options: Default::default(),
            timing: Timing::EveryMs(every_ms),
            catch_up: CatchUp::One,
            overlap,
        };
        client.schedules().put(&schedule).await?;
    }
    Ok(())
}

/// Has them fire no more; they must have until now.
async fn stop_schedules(client: &Client) -> Result<()> {
    for name in ["often", "slow"] {
        let record = client.schedules().get(name).await?;
        let has_run = record.runs.iter().any(|run| run.id.is_some());
        ensure!(has_run, "{name} has not run: {record:?}");
        client.schedules().remove(name).await?;
    }
    sleep(Duration::from_millis(100)).await;
    Ok(())
}
