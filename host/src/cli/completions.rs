//! `celeriac completions`: scripts that complete the command line in a shell.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{error::CliError, exit::Exit, output::Output};

/// Print a script that completes the command line in a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac completions bash > ~/.local/share/bash-completion/completions/celeriac
  celeriac completions zsh > \"${fpath[1]}/_celeriac\"
  celeriac completions fish > ~/.config/fish/completions/celeriac.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub(crate) fn completions(
    args: &CompletionsArgs,
    command: &mut Command,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "celeriac", &mut script);
    out.raw(&script)?;
    Ok(Exit::Success.into())
}
