//! An army of attackers, one after another, against a real host with a neighbour on it.
//!
//! Each row of [`table`] is one hostile module. The [`arena`] runs it and asserts the exact outcome, its time, the
//! host's memory and the neighbour's calls; [`page`] writes what came of it to `docs/hostile.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod arena;
mod attack;
mod forgery;
mod made;
mod memory;
mod module;
mod neighbour;
mod page;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../../../host/tests/support/servers.rs"]
mod servers;
mod surroundings;
mod table;
mod tenants;

use anyhow::{Result, ensure};
use celeriac_broker::testing::AofMode;
use celeriac_tests::Stage;
use tokio::sync::{Mutex, MutexGuard};

use arena::{Arena, Report};
use attack::Attack;

/// The neighbour's time counts: the tests of this binary take turns.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Runs the attacks that `HOSTILE` names (parts of names, with commas), or all, and says of all what went wrong.
async fn run(stage: Stage, attacks: &[Attack]) -> Result<(Vec<Report>, Vec<String>)> {
    let wanted = std::env::var("HOSTILE").unwrap_or_default();
    let is_wanted = |attack: &&Attack| wanted.split(',').any(|part| attack.name.contains(part));
    let attacks: Vec<_> = attacks.iter().filter(is_wanted).collect();
    let mut arena = Arena::open(stage, &attacks).await?;
    let (mut reports, mut wrong) = (Vec::new(), Vec::new());
    for attack in attacks {
        match arena.fight(attack).await {
            Ok(report) => {
                eprintln!("{report}");
                for what in &report.wrong {
                    eprintln!("    wrong: {what}");
                }
                wrong.extend(
                    report
                        .wrong
                        .iter()
                        .map(|what| format!("{}: {what}", attack.name)),
                );
                reports.push(report);
            }
            Err(error) => {
                eprintln!("{}: {error:#}", attack.name);
                wrong.push(format!("{}: {error:#}", attack.name));
            }
        }
    }
    wrong.extend(arena.close().await?);
    Ok((reports, wrong))
}

fn nothing_is(wrong: &[String]) -> Result<()> {
    ensure!(
        wrong.is_empty(),
        "{} things are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_ends_as_it_should_and_harms_nobody() -> Result<()> {
    let _turn = alone().await;
    let (reports, wrong) = run(Stage::embedded().await?, &table::attacks()).await?;
    page::write_or_check(&reports)?;
    nothing_is(&wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_what_the_broker_stores_are_stopped_on_redis_too() -> Result<()> {
    let _turn = alone().await;
    let attacks: Vec<Attack> = table::attacks()
        .into_iter()
        .filter(|attack| attack.also_on_redis)
        .collect();
    let (_, wrong) = run(Stage::redis(AofMode::Off).await?, &attacks).await?;
    nothing_is(&wrong)
}
