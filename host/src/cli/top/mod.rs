//! `celeriac top`: hosts, queues and what runs, live.

mod draw;
mod model;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use celeriac::settings::{Settings, without_password};
use celeriac_broker::{Filter, List, State};
use celeriac_client::Client;
use clap::Args;
use comfy_table::Cell;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::{
    draw::Frills,
    model::{Look, View, oldest, rate},
};
use super::{connect::connect, error::CliError, exit::Exit, figures::span, output::Output};

/// The broker is asked no more often.
const PERIOD: Duration = Duration::from_secs(1);

/// What is shown of what runs, at most.
const RUNNING: usize = 200;

/// Show hosts, queues and running invocations, live
///
/// Everything is read from the broker, once a second. IN/S counts what came to wait, OUT/S what hosts took.
/// Keys: q, Esc or ctrl-c ends it, space holds the view, the arrows and page keys scroll what runs.
/// Without a terminal, and with --once, it looks twice, a second apart, prints plain text and ends.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac top
  celeriac top --once | grep -A9 QUEUE
  celeriac top --json | jq '.queues[] | {queue, queued, out_per_second}'")]
pub(crate) struct TopArgs {
    /// Print once and end
    #[arg(long)]
    once: bool,
}

/// Runs the command.
pub(crate) async fn top(
    args: TopArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let client = connect(&settings).await?;
    let begun = Instant::now();
    if args.once || out.is_json || !out.is_terminal {
        let before = look(&client, begun).await?;
        tokio::time::sleep(PERIOD).await;
        let view = View::of(&look(&client, begun).await?, Some(&before));
        match out.is_json {
            true => out.document(&view)?,
            false => print(&view, out)?,
        }
        return Ok(Exit::Success.into());
    }
    let before = look(&client, begun).await?;
    let screen = Screen::open()?;
    let ended = live(
        &client,
        begun,
        before,
        without_password(&settings.broker),
        screen,
    )
    .await;
    ended.map(|()| Exit::Success.into())
}

/// One look at the broker.
async fn look(client: &Client, begun: Instant) -> Result<Look, CliError> {
    let broker = client.broker();
    let list = List {
        filter: Filter::default().states([State::Running]),
        cursor: None,
        limit: RUNNING,
    };
    let (queues, hosts, paused, running) = tokio::try_join!(
        broker.queues(),
        broker.hosts(),
        broker.paused(),
        broker.list(&list)
    )?;
    let mut running = running.invocations;
    running.sort_by_key(|status| (status.submitted_at_ms, status.id));
    Ok(Look {
        at: begun.elapsed(),
        queues,
        hosts,
        paused,
        running,
    })
}

/// A terminal that is given back as it was, whatever happens.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self, CliError> {
        Ok(Self(ratatui::try_init()?))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// What a key asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    Quit,
    Hold,
    Scroll(isize),
    /// Draw again: the window has changed.
    Draw,
}

async fn live(
    client: &Client,
    begun: Instant,
    first: Look,
    address: String,
    mut screen: Screen,
) -> Result<(), CliError> {
    let (mut view, mut before) = (View::of(&first, None), first);
    let mut frills = Frills {
        address,
        ..Frills::default()
    };
    let mut wishes = keys();
    let mut clock = interval(PERIOD);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock.tick().await;
    loop {
        screen.0.draw(|frame| draw::draw(frame, &view, &frills))?;
        tokio::select! {
            wish = wishes.recv() => match wish {
                None | Some(Wish::Quit) => return Ok(()),
                Some(Wish::Hold) => frills.is_held = !frills.is_held,
                Some(Wish::Scroll(lines)) => {
                    let last = view.running.len().saturating_sub(1);
                    frills.scrolled = frills.scrolled.saturating_add_signed(lines).min(last);
                }
                Some(Wish::Draw) => {}
            },
            _ = clock.tick(), if !frills.is_held => match look(client, begun).await {
                Ok(now) => {
                    view = View::of(&now, Some(&before));
                    before = now;
                    frills.error = None;
                    frills.scrolled = frills.scrolled.min(view.running.len().saturating_sub(1));
                }
                // What was seen last stays, and the next look may succeed.
                Err(error) => frills.error = Some(error.message),
            },
        }
    }
}

/// Reads keys on a thread of its own, which ends with the receiver.
fn keys() -> mpsc::Receiver<Wish> {
    let (wishes, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !wishes.is_closed() {
            match event::poll(Duration::from_millis(100)) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(read) = event::read() else { return };
                    if let Some(wish) = wish(&read)
                        && wishes.blocking_send(wish).is_err()
                    {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    receiver
}

fn wish(event: &Event) -> Option<Wish> {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press | KeyEventKind::Repeat,
        ..
    }) = event
    else {
        return matches!(event, Event::Resize(..)).then_some(Wish::Draw);
    };
    Some(match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
        KeyCode::Char(' ') => Wish::Hold,
        KeyCode::Up => Wish::Scroll(-1),
        KeyCode::Down => Wish::Scroll(1),
        KeyCode::PageUp => Wish::Scroll(-10),
        KeyCode::PageDown => Wish::Scroll(10),
        _ => return None,
    })
}

/// Everything as plain tables.
fn print(view: &View, out: &Output) -> Result<(), CliError> {
    let queues = view.queues.iter().map(|queue| {
        [
            Cell::new(&queue.queue),
            Cell::new(queue.queued),
            Cell::new(queue.scheduled),
            Cell::new(queue.running),
            Cell::new(oldest(queue)),
            Cell::new(rate(queue.in_per_second)),
            Cell::new(rate(queue.out_per_second)),
            Cell::new(queue.hosts),
            Cell::new(if queue.is_paused { "paused" } else { "open" }),
        ]
    });
    out.table(
        [
            "QUEUE",
            "QUEUED",
            "SCHEDULED",
            "RUNNING",
            "OLDEST",
            "IN/S",
            "OUT/S",
            "HOSTS",
            "STATE",
        ],
        queues.collect(),
    )?;
    let hosts = view.hosts.iter().map(|host| {
        [
            Cell::new(&host.host),
            Cell::new(host.state),
            Cell::new(host.running),
            Cell::new(host.concurrency),
            Cell::new(host.ceiling),
            Cell::new(&host.queues),
        ]
    });
    if !view.paused_tasks.is_empty() {
        out.line(&format!("paused tasks: {}", view.paused_tasks.join(", ")))?;
    }
    out.line("")?;
    out.table(
        [
            "HOST",
            "STATE",
            "RUNNING",
            "CONCURRENCY",
            "CEILING",
            "QUEUES",
        ],
        hosts.collect(),
    )?;
    let running = view.running.iter().map(|line| {
        [
            Cell::new(&line.id),
            Cell::new(&line.task),
            Cell::new(&line.host),
            Cell::new(line.attempt),
            Cell::new(span(line.age_ms)),
            Cell::new(&line.progress),
        ]
    });
    out.line("")?;
    out.table(
        ["INVOCATION", "TASK", "HOST", "ATTEMPT", "AGE", "PROGRESS"],
        running.collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_what_is_written() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |code| key(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char('q')), Some(Wish::Quit));
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Wish::Quit)
        );
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(plain(KeyCode::Char(' ')), Some(Wish::Hold));
        assert_eq!(plain(KeyCode::Down), Some(Wish::Scroll(1)));
        assert_eq!(plain(KeyCode::PageUp), Some(Wish::Scroll(-10)));
        assert_eq!(wish(&Event::Resize(1, 1)), Some(Wish::Draw));
    }
}
