//! `celeriac dead`: what has failed for good.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use celeriac::engine::Recording;
use celeriac::settings::{Settings, units};
use celeriac_broker::{
    Code, DeadFilter, DeadLetter, DeadList, InvocationId, MAX_LISTED, Retry, TaskFilter,
};
use celeriac_client::{BulkDead, Client};
use clap::{Args, Subcommand};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};

use super::{
    bulk,
    connect::connect,
    error::CliError,
    exit::Exit,
    figures::{ago, harmless, now_ms},
    input::InputArgs,
    log_line,
    outcome::{output_document, pretty},
    output::{MINOR, Output, STRONG, paint},
    status,
};

/// Look at what has failed for good: list, show, retry, drop
///
/// Failures beyond retry are kept with input, trail and logs for `dead_letters.ttl`, at most `dead_letters.most` of
/// them.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac dead list --task shop/checkout --code trap,deadline
  celeriac dead show 0199c5a2-7b1e-7cc3-98c4-d3f2a1b0c9d8
  celeriac dead retry $id --input @fixed.json
  celeriac dead retry --task shop/checkout --latest
  celeriac dead drop --older-than 3d")]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List dead letters, newest first
    #[command(
        after_help = "Examples:\n  celeriac dead list\n  celeriac dead list --code out_of_fuel --newer-than 1h --json"
    )]
    List {
        #[command(flatten)]
        filter: DeadFilterArgs,
        /// At most so many
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// Go on where an earlier list ended
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Show a dead letter: how it failed each time, its input, its logs
    #[command(
        after_help = "Examples:\n  celeriac dead show $id\n  celeriac dead show $id --json | jq .input.json > input.json"
    )]
    Show {
        /// The dead letter
        #[arg(value_name = "ID")]
        id: InvocationId,
    },
    /// Hand dead letters in once more, as new invocations that take their places
    #[command(
        after_help = "Examples:\n  celeriac dead retry $a $b\n  celeriac dead retry $id --input '{\"order\":17}'\n  celeriac dead retry --task shop --latest"
    )]
    Retry {
        /// The dead letters; none: all that the filters ask for
        #[arg(value_name = "ID", conflicts_with = "filters")]
        ids: Vec<InvocationId>,
        #[command(flatten)]
        filter: DeadFilterArgs,
        #[command(flatten)]
        input: InputArgs,
        /// Run what the task's name points to now, instead of the module that failed
        #[arg(long)]
        latest: bool,
    },
    /// Drop dead letters: what is known of them goes when their results would have
    #[command(
        after_help = "Examples:\n  celeriac dead drop $a $b\n  celeriac dead drop --older-than 3d"
    )]
    Drop {
        /// The dead letters; none: all that the filters ask for
        #[arg(value_name = "ID", conflicts_with = "filters")]
        ids: Vec<InvocationId>,
        #[command(flatten)]
        filter: DeadFilterArgs,
    },
}

/// Which dead letters are meant.
#[derive(Args, Clone, Debug)]
#[group(id = "filters", multiple = true)]
struct DeadFilterArgs {
    /// Only those of this task (`images/resize`, in any version) or module (`images`)
    #[arg(long, value_name = "TASK")]
    task: Option<TaskFilter>,

    /// Only those of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,

    /// Only those that failed with one of these codes, with commas between
    #[arg(long, value_name = "CODE,…", value_delimiter = ',', value_parser = code)]
    code: Vec<Code>,

    /// Only those that failed at least this long ago, such as `3d`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    older_than: Option<Duration>,

    /// Only those that failed at most this long ago
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    newer_than: Option<Duration>,
}

impl DeadFilterArgs {
    fn filter(&self) -> DeadFilter {
        let before = |age: Duration| {
            now_ms().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
        };
        DeadFilter {
            task: self.task.clone(),
            queue: self.queue.clone(),
            codes: self.code.clone(),
            since_ms: self.newer_than.map(before),
            until_ms: self.older_than.map(before),
        }
    }
}

fn code(text: &str) -> Result<Code, String> {
    let found = Code::ALL.into_iter().find(|code| code.as_str() == text);
    found.ok_or_else(|| {
        let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        format!("expected one of {}", codes.join(", "))
    })
}

/// Runs the command.
pub(crate) async fn dead(
    args: DeadArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    check_meant(&args.action)?;
    let client = connect(&settings).await?;
    match args.action {
        Action::List {
            filter,
            limit,
            cursor,
        } => {
            let list = DeadList {
                filter: filter.filter(),
                cursor,
                limit,
            };
            list_letters(&client, list, out).await
        }
        Action::Show { id } => show(&client, id, out).await,
        Action::Retry {
            ids,
            filter,
            input,
            latest,
        } => {
            let retry = Retry {
                input: match input.input {
                    Some(_) => Some(input.read(settings.caps.input_bytes)?),
                    None => None,
                },
                is_latest: latest,
            };
            match ids.is_empty() {
                true => retry_all(&client, filter.filter(), &retry, out).await,
                false => retry_each(&client, ids, &retry, out).await,
            }
        }
        Action::Drop { ids, filter } => drop_letters(&client, &ids, filter.filter(), out).await,
    }
}

/// Refuses to do a thing to all that there are, for want of a word.
fn check_meant(action: &Action) -> Result<(), CliError> {
    let (ids, filter, done) = match action {
        Action::Retry { ids, filter, .. } => (ids, filter, "retried"),
        Action::Drop { ids, filter } => (ids, filter, "dropped"),
        Action::List { .. } | Action::Show { .. } => return Ok(()),
    };
    if !ids.is_empty() || filter.filter() != DeadFilter::default() {
        return Ok(());
    }
    let filters = "`--task`, `--queue`, `--code`, `--older-than`, `--newer-than`; `celeriac dead list` takes the same";
    Err(bulk::nothing_meant(done, filters))
}

async fn list_letters(
    client: &Client,
    mut list: DeadList,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let wanted = list.limit.max(1);
    let mut letters = Vec::new();
    loop {
        list.limit = (wanted - letters.len()).min(MAX_LISTED);
        let page = client.dead_letters(&list).await?;
        letters.extend(page.letters);
        list.cursor = page.cursor;
        if list.cursor.is_none() || letters.len() >= wanted {
            break;
        }
    }
    if out.is_json {
        out.document(&json!({ "letters": letters, "cursor": list.cursor }))?;
        return Ok(Exit::Success.into());
    }
    match letters.is_empty() {
        true => out.note("there is no such dead letter"),
        false => out.table(
            ["ID", "TASK", "CODE", "FAILURE", "ATTEMPTS", "FAILED"],
            letters.iter().map(row).collect(),
        )?,
    }
    if let Some(cursor) = list.cursor {
        out.note(&format!("there may be more: --cursor {cursor}"));
    }
    Ok(Exit::Success.into())
}

fn row(letter: &DeadLetter) -> [Cell; 6] {
    let head = letter.status.outcome.as_ref();
    let failure = head.and_then(|head| head.failure.as_ref());
    // The whole message is in `show`.
    let message = failure.map_or_else(String::new, |failure| {
        let line = failure.message.lines().next().unwrap_or_default();
        harmless(&line.chars().take(60).collect::<String>())
    });
    [
        Cell::new(letter.status.id),
        Cell::new(&letter.status.task),
        Cell::new(head.map_or_else(String::new, |head| head.code.to_string())).fg(Color::Red),
        Cell::new(message),
        Cell::new(letter.status.attempts),
        Cell::new(ago(letter.died_at_ms)),
    ]
}

async fn show(client: &Client, id: InvocationId, out: &Output) -> Result<ExitCode, CliError> {
    let broker = client.broker();
    let status = broker.status(id).await?;
    let request = broker.request(id).await?;
    let events = broker.events(id, MAX_LISTED).await?;
    let recording = recording(broker.recording(id).await?);
    if out.is_json {
        let events: Vec<_> = events.iter().map(log_line::document).collect();
        let document = json!({
            "status": status, "options": request.options, "input": output_document(&request.input, None), "events": events,
            "recording": recording,
        });
        out.document(&document)?;
        return Ok(Exit::Success.into());
    }
    status::one(&status, out)?;
    out.line(&paint(STRONG, "input"))?;
    match request.input.is_json() {
        true => out.line(&pretty(&request.input.data))?,
        false => {
            let (kind, size) = (&request.input.content_type, request.input.data.len() as u64);
            let size = super::figures::size(size);
            out.line(&paint(MINOR, format!("{size} of {}", harmless(kind))))?;
        }
    }
    if let Some(recording) = recording.as_str() {
        out.line(&paint(STRONG, "recording"))?;
        out.line(recording)?;
    }
    if !events.is_empty() {
        out.line(&paint(STRONG, "reports"))?;
    }
    for event in &events {
        out.line(&log_line::any(event))?;
    }
    Ok(Exit::Success.into())
}

/// What can be replayed: in words; null where nothing was written down.
fn recording(bytes: Option<Bytes>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    let size = super::figures::size(bytes.len() as u64);
    let text = match Recording::read(&bytes).map(|recording| recording.transcript) {
        Ok(None) => "how it began; the answers of its host were not kept".to_owned(),
        Ok(Some(kept)) => {
            let calls = format!("{size}, the answers of {} calls of its host", kept.calls());
            match (kept.gap(), kept.cut_at()) {
                (Some(what), _) => format!("{calls}; it ends where the task used {what}"),
                (None, Some(_)) => format!("{calls}; it was cut there"),
                (None, None) => calls,
            }
        }
        Err(error) => error.to_string(),
    };
    Value::String(text)
}

async fn retry_each(
    client: &Client,
    ids: Vec<InvocationId>,
    retry: &Retry,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let mut retried = Vec::new();
    for id in ids {
        match client.retry_dead_letter(id, retry.clone()).await? {
            Some(successor) => retried.push((id, successor)),
            None => {
                return Err(CliError::new(
                    Exit::NotFound,
                    format!("invocation {id} is no dead letter, or no longer"),
                    "`celeriac dead list` lists those that are",
                ));
            }
        }
    }
    if out.is_json {
        let documents: Vec<_> = retried
            .iter()
            .map(|(id, successor)| json!({ "id": id, "retried_as": successor }))
            .collect();
        out.document(&json!({ "letters": documents }))?;
    } else {
        for (_, successor) in retried {
            out.line(&successor.to_string())?;
        }
    }
    Ok(Exit::Success.into())
}

async fn retry_all(
    client: &Client,
    filter: DeadFilter,
    retry: &Retry,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if retry.input.is_some() {
        return Err(CliError::usage(
            "--input is for dead letters that are named",
            "name the one that it is for: `celeriac dead retry ID --input …`",
        ));
    }
    let bar = bulk::counter(out);
    let progress = |all: &BulkDead| bar.set_message(sentence(all, "retried"));
    let all = client
        .retry_dead_letters(filter, retry.is_latest, progress)
        .await;
    bar.finish_and_clear();
    finish(&all?, "retried", out)
}

async fn drop_letters(
    client: &Client,
    ids: &[InvocationId],
    filter: DeadFilter,
    out: &Output,
) -> Result<ExitCode, CliError> {
    if !ids.is_empty() {
        let done = client.drop_dead_letters(ids).await?;
        let all = BulkDead {
            matched: ids.len() as u64,
            done,
            refused: 0,
        };
        return finish(&all, "dropped", out);
    }
    let bar = bulk::counter(out);
    let progress = |all: &BulkDead| bar.set_message(sentence(all, "dropped"));
    let all = client.drop_all_dead_letters(filter, progress).await;
    bar.finish_and_clear();
    finish(&all?, "dropped", out)
}

fn finish(all: &BulkDead, done: &str, out: &Output) -> Result<ExitCode, CliError> {
    match out.is_json {
        true => out.document(&json!({ "letters": all }))?,
        false => out.line(&sentence(all, done))?,
    }
    Ok(match all.refused {
        0 => Exit::Success,
        _ => Exit::Failed,
    }
    .into())
}

fn sentence(all: &BulkDead, done: &str) -> String {
    match all.refused {
        0 => format!("{} {done}", all.done),
        refused => format!(
            "{} {done}, {refused} refused: their modules or tasks are not there any more",
            all.done
        ),
    }
}
