//! The Python client against Celery, in turn: one await after the other, and many at once.
//!
//! Each side has a client process in Python, a worker process, and a Redis of its own without persistence.

use anyhow::Result;

use crate::{
    figure::{Figure, Goal},
    host::{Site, block_on},
    options::Scale,
    peer::Peer,
    stats::{median, quantile},
};

/// Slots of our host: as in `throughput`.
const SLOTS: u32 = 512;

/// How much a round of each side has.
struct Sizes {
    rounds: usize,
    ours: usize,
    celery: usize,
    awaits: usize,
}

/// What was measured of one side: tasks in a second, and microseconds from submit to result.
#[derive(Default)]
struct Side {
    rates: Vec<f64>,
    latencies: Vec<f64>,
}

impl Side {
    fn measure(&mut self, peer: &mut Peer, tasks: usize, awaits: usize) -> Result<()> {
        self.rates.push(peer.rate(tasks)?);
        self.latencies.extend(peer.latencies(awaits)?);
        Ok(())
    }
}

/// Measures.
pub(crate) fn run(scale: Scale) -> Result<Vec<Figure>> {
    let full = Sizes {
        rounds: 5,
        ours: 30_000,
        celery: 1_500,
        awaits: 300,
    };
    let quick = Sizes {
        rounds: 1,
        ours: 300,
        celery: 20,
        awaits: 10,
    };
    let sizes = scale.pick(full, quick);
    let mut celery = Peer::celery()?;
    let (ours, theirs) = block_on(async {
        let site = Site::start().await?;
        let _host = site.host(SLOTS).await?;
        site.push("basics").await?;
        let mut client = Peer::ours(&site.server)?;
        let (mut ours, mut theirs) = (Side::default(), Side::default());
        for round in 1..=sizes.rounds {
            eprintln!("   round {round} of {}", sizes.rounds);
            tokio::task::block_in_place(|| {
                ours.measure(&mut client, sizes.ours, sizes.awaits)?;
                theirs.measure(&mut celery, sizes.celery, sizes.awaits)
            })?;
        }
        Ok((ours, theirs))
    })?;
    Ok(figures(&ours, &theirs))
}

fn figures(ours: &Side, celery: &Side) -> Vec<Figure> {
    let rates = (median(&ours.rates), median(&celery.rates));
    let awaits = (median(&ours.latencies), median(&celery.latencies));
    let against = "Celery 5.7, prefork, Redis results; in turn, each with its own Redis, one client process in Python";
    let figure = |name: &str, value, unit, of: &str| Figure::new(name, value, unit, of);
    vec![
        figure(
            "python.throughput_over_celery",
            rates.0 / rates.1,
            "ratio",
            against,
        )
        .goal(Goal::AtLeast(10.0)),
        figure(
            "python.await_over_celery",
            awaits.0 / awaits.1,
            "ratio",
            against,
        )
        .goal(Goal::AtMost(0.2)),
        figure(
            "python.per_s",
            rates.0,
            "1/s",
            "no-ops awaited from Python, Redis",
        ),
        figure("python.celery_per_s", rates.1, "1/s", "Celery"),
        figure(
            "python.await_us",
            awaits.0,
            "µs",
            "submit to result from Python, Redis",
        ),
        figure(
            "python.await_p99_us",
            quantile(&ours.latencies, 0.99),
            "µs",
            "submit to result from Python, Redis",
        ),
        figure("python.celery_await_us", awaits.1, "µs", "Celery"),
    ]
}
