//! The command line: what each command takes, and the way from there to its work.
//!
//! [`main`] parses, resolves the settings once, runs one command, and turns what it says into an exit
//! code. Commands are thin: they call the client, and say what came of it through [`Output`].

mod batch;
mod bulk;
mod call;
mod cancel;
mod completions;
mod config;
mod connect;
mod dead;
mod doctor;
mod error;
mod exit;
mod figures;
mod follow;
mod hosts;
mod http;
mod input;
mod kv;
mod limits;
mod list;
mod log_line;
mod logging;
mod logs;
mod modules;
mod moving;
mod new;
mod options;
mod outcome;
mod output;
mod pause;
mod policy;
mod push;
mod queues;
mod replay;
mod run;
mod schedule_file;
mod schedule_options;
mod schedules;
mod serve;
mod status;
mod stubs;
mod token;
mod top;
mod wait;
mod watch;

use std::{path::PathBuf, process::ExitCode};

use celeriac::{
    process,
    settings::{Override, Settings},
};
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::{error::CliError, exit::Exit, output::Output};

/// Run tasks that are WebAssembly components: upload once, call from anywhere, await pushed results
#[derive(Parser, Debug)]
#[command(
    name = "celeriac",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "\
Examples:
  celeriac new shop                               write a project with a first task
  celeriac push shop.wasm --name shop@1.0.0       upload a module
  celeriac call shop/checkout --input @order.json run a task and print its output
  celeriac doctor                                 look for what is wrong here

Exit codes: `celeriac help exit-codes`")]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
struct Global {
    /// The settings file, instead of the one that is found
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,

    /// Where the broker is: `redis://HOST[:PORT]` or `embedded:DIRECTORY`
    #[arg(long, global = true, value_name = "URL", help_heading = "Everywhere")]
    broker: Option<String>,

    /// Set any setting, such as `--set lease=5s`; see `celeriac config`
    #[arg(
        long,
        global = true,
        value_name = "KEY=VALUE",
        help_heading = "Everywhere"
    )]
    set: Vec<String>,

    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Run(run::RunArgs),
    New(new::NewArgs),
    Push(push::PushArgs),
    Modules(modules::ModulesArgs),
    Stubs(stubs::StubsArgs),
    Call(Box<call::CallArgs>),
    Status(status::StatusArgs),
    List(list::ListArgs),
    Wait(wait::WaitArgs),
    Watch(watch::WatchArgs),
    Cancel(cancel::CancelArgs),
    Dead(dead::DeadArgs),
    Replay(Box<replay::ReplayArgs>),
    Logs(logs::LogsArgs),
    Queues(queues::QueuesArgs),
    Limits(limits::LimitsArgs),
    Kv(kv::KvArgs),
    Token(token::TokenArgs),
    Schedules(schedules::SchedulesArgs),
    Hosts(hosts::HostsArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Drain(pause::DrainArgs),
    Top(top::TopArgs),
    Policy(policy::PolicyArgs),
    Doctor(doctor::DoctorArgs),
    Config(config::ConfigArgs),
    Completions(completions::CompletionsArgs),
    /// What the exit codes mean
    #[command(hide = true, name = "exit-codes", long_about = exit::EXPLANATION)]
    ExitCodes,
}

impl Command {
    /// The settings that flags of this command set.
    fn overrides(&self) -> Vec<Override> {
        match self {
            Self::Serve(args) => args.overrides(),
            _ => Vec::new(),
        }
    }

    /// Whether it runs tasks, or tells how a process that does would stand.
    fn is_hardened(&self) -> bool {
        matches!(
            self,
            Self::Serve(_) | Self::Run(_) | Self::Replay(_) | Self::Doctor(_)
        )
    }

    async fn run(self, settings: Settings, out: &Output) -> Result<ExitCode, CliError> {
        match self {
            Self::Serve(_) => serve::serve(settings, out).await,
            Self::Run(args) => run::run(args, &settings, out).await,
            Self::New(args) => new::new(&args, out),
            Self::Push(args) => push::push(args, settings, out).await,
            Self::Modules(args) => modules::modules(args, settings, out).await,
            Self::Stubs(args) => stubs::stubs(args, settings, out).await,
            Self::Call(args) => call::call(*args, settings, out).await,
            Self::Status(args) => status::status(args, settings, out).await,
            Self::List(args) => list::list(args, settings, out).await,
            Self::Wait(args) => wait::wait(args, settings, out).await,
            Self::Watch(args) => watch::watch(args, settings, out).await,
            Self::Cancel(args) => cancel::cancel(args, settings, out).await,
            Self::Dead(args) => dead::dead(args, settings, out).await,
            Self::Replay(args) => replay::replay(*args, &settings, out).await,
            Self::Logs(args) => logs::logs(args, settings, out).await,
            Self::Queues(args) => queues::queues(args, settings, out).await,
            Self::Limits(args) => limits::limits(args, settings, out).await,
            Self::Kv(args) => kv::kv(args, settings, out).await,
            Self::Token(args) => token::token(args, settings, out).await,
            Self::Schedules(args) => schedules::schedules(args, settings, out).await,
            Self::Hosts(args) => hosts::hosts(args, settings, out).await,
            Self::Pause(args) => pause::pause(args, settings, out).await,
            Self::Resume(args) => pause::resume(args, settings, out).await,
            Self::Drain(args) => pause::drain(args, settings, out).await,
            Self::Top(args) => top::top(args, settings, out).await,
            Self::Policy(args) => policy::policy(args, &settings, out).await,
            Self::Doctor(args) => doctor::doctor(args, settings, out).await,
            Self::Config(args) => config::config(&args, &settings, out),
            Self::Completions(_) | Self::ExitCodes => unreachable!("answered without settings"),
        }
    }
}

/// Runs the program and says how it ended.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let out = Output::new(cli.global.json);
    match start(cli, &out) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe => Exit::Success.into(),
        Err(error) => {
            out.error(&error);
            error.exit.into()
        }
    }
}

/// Answers a call for help, or a command line that is wrong.
fn misused(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && is_json {
        let text = error.to_string();
        let message = text.trim_start_matches("error: ").trim_end();
        Output::new(true).error(&CliError::usage(
            message,
            "`celeriac help` lists commands and flags",
        ));
        return Exit::Usage.into();
    }
    // A reader that has gone is no error; clap's own exit codes are 0 for help and 2 for the rest.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn start(mut cli: Cli, out: &Output) -> Result<ExitCode, CliError> {
    // These must work however broken the settings are.
    match &cli.command {
        Command::Completions(args) => {
            return completions::completions(args, &mut Cli::command(), out);
        }
        Command::ExitCodes => return out.line(exit::EXPLANATION).map(|()| Exit::Success.into()),
        Command::Config(args) if args.example => return config::example(out),
        _ => {}
    }
    // While there is one thread, and before anything is opened.
    if cli.command.is_hardened() {
        let umask = process::harden()?;
        match &mut cli.command {
            Command::Run(args) => args.umask = Some(umask),
            Command::Replay(args) => args.umask = Some(umask),
            _ => {}
        }
    }
    let mut overrides = Vec::new();
    overrides.extend(
        cli.global
            .broker
            .iter()
            .map(|url| Override::new("--broker", "broker", url)),
    );
    for pair in &cli.global.set {
        overrides.push(Override::pair(pair)?);
    }
    overrides.extend(cli.command.overrides());
    let settings = Settings::load(cli.global.config.as_deref(), &overrides)?;
    logging::start(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        CliError::new(
            Exit::Failed,
            format!("no threads could be started: {error}"),
            "check `ulimit -u`",
        )
    })?;
    let ended = runtime.block_on(cli.command.run(settings, out));
    // A reader of standard input that still blocks must not keep the program.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for command in Cli::command()
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Examples:"), "{}", command.get_name());
        }
    }
}
