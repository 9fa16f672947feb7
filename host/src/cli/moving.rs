//! `celeriac queues move` and `rename`: what waits goes to another queue.

use std::{process::ExitCode, time::Duration};

use celeriac::settings::units;
use celeriac_broker::TaskFilter;
use celeriac_client::{BulkMove, Client, Move, Renamed};
use clap::Args;

use super::{bulk, error::CliError, exit::Exit, output::Output};

#[derive(Args, Debug)]
pub(crate) struct MoveArgs {
    /// The queue that they wait in
    #[arg(value_name = "FROM")]
    from: String,

    /// The queue that they are moved to
    #[arg(value_name = "TO")]
    to: String,

    /// Only those of this task (`images/resize`, in any version) or module (`images`)
    #[arg(long, value_name = "TASK")]
    task: Option<TaskFilter>,

    /// Only those with this concurrency key or this fairness key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Only those accepted at least this long ago, such as `1h`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    older_than: Option<Duration>,

    /// Only count what would be moved
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RenameArgs {
    /// The queue as it is called
    #[arg(value_name = "OLD")]
    old: String,

    /// Its new name
    #[arg(value_name = "NEW")]
    new: String,
}

/// Runs `celeriac queues move`.
pub(crate) async fn move_queue(
    client: &Client,
    args: MoveArgs,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let wanted = Move {
        from: args.from,
        to: args.to,
        task: args.task,
        key: args.key,
        older_than: args.older_than,
    };
    let bar = bulk::counter(out);
    let done = client
        .move_queue(&wanted, args.dry_run, |done| {
            bar.set_message(sentence(done, args.dry_run));
        })
        .await;
    bar.finish_and_clear();
    let done = done?;
    bulk::show(&done, &sentence(&done, args.dry_run), args.dry_run, out)
}

fn sentence(done: &BulkMove, is_dry: bool) -> String {
    if is_dry {
        return format!("{} would be moved; nothing was done", done.matched);
    }
    let mut text = format!("{} moved", done.moved);
    let others = done.matched.saturating_sub(done.moved);
    if others > 0 {
        text += &format!(", {others} had started or ended");
    }
    text
}

/// Runs `celeriac queues rename`.
pub(crate) async fn rename(
    client: &Client,
    args: RenameArgs,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let bar = bulk::counter(out);
    let renamed = client
        .rename_queue(&args.old, &args.new, |done| {
            bar.set_message(sentence(done, false));
        })
        .await;
    bar.finish_and_clear();
    let renamed = renamed?;
    if out.is_json {
        out.document(&renamed)?;
        return Ok(Exit::Success.into());
    }
    out.line(&summary(&renamed))?;
    if renamed.moved == 0
        && renamed.settings.is_empty()
        && renamed.dropped.is_empty()
        && renamed.schedules.is_empty()
    {
        out.note(&format!(
            "there was nothing in `{}`: `celeriac queues` lists the queues",
            args.old
        ));
    }
    if !renamed.is_gone {
        out.note(&format!(
            "`{}` has got new invocations meanwhile: tell whoever hands in to it, and rename once more",
            args.old
        ));
    }
    Ok(Exit::Success.into())
}

fn summary(renamed: &Renamed) -> String {
    let mut text = format!("{} moved", renamed.moved);
    let words = |names: &[&str]| names.join(", ").replace('_', " ");
    if !renamed.settings.is_empty() {
        text += &format!("; its {} went along", words(&renamed.settings));
    }
    if !renamed.dropped.is_empty() {
        text += &format!(
            "; its {} was dropped: the other queue has one of its own",
            words(&renamed.dropped)
        );
    }
    if !renamed.schedules.is_empty() {
        text += &format!("; schedules: {}", renamed.schedules.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_moved_and_what_was_not() {
        let done = BulkMove {
            matched: 7,
            moved: 5,
        };
        assert_eq!(sentence(&done, false), "5 moved, 2 had started or ended");
        assert!(sentence(&done, true).starts_with("7 would be"));
        let renamed = Renamed {
            moved: 3,
            schedules: vec!["nightly".to_owned()],
            settings: vec!["result_ttl"],
            dropped: vec!["limit"],
            is_gone: true,
        };
        assert_eq!(
            summary(&renamed),
            "3 moved; its result ttl went along; its limit was dropped: the other queue has one of its own; \
             schedules: nightly"
        );
    }
}
