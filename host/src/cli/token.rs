//! `celeriac token`: who may call over HTTP.

use std::{process::ExitCode, time::Duration};

use celeriac::{
    gateway::tokens::{self, Scope, Token},
    settings::{Settings, units},
};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use serde_json::{Value, json};

use super::{connect, error::CliError, exit::Exit, figures::harmless, output::Output};

/// Make, list and revoke the tokens that HTTP requests carry
///
/// They are kept in the broker, as hashes: all hosts on one broker know the same tokens.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  celeriac token new --name ci --scopes submit,read
  celeriac token new --name deploy --scopes upload --ttl 90d
  celeriac token list
  celeriac token revoke 3f1c9a2b7d4e5a60")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    /// Make a token and print it: it is shown this once
    New(NewArgs),
    /// List the tokens that work
    List,
    /// End a token: within five seconds no host takes it any more
    Revoke {
        /// Its id, the part between `cel_` and the next `_`
        id: String,
    },
}

#[derive(Args, Debug)]
struct NewArgs {
    /// What it is for
    #[arg(long, value_name = "NAME", default_value = "unnamed")]
    name: String,

    /// What it may be used for: `submit`, `read`, `upload`, `admin`, with commas between
    #[arg(
        long,
        value_name = "SCOPE,…",
        value_delimiter = ',',
        default_value = "submit,read"
    )]
    scopes: Vec<Scope>,

    /// When it ends by itself, such as `90d`
    #[arg(long, value_parser = units::parse_duration, value_name = "DURATION")]
    ttl: Option<Duration>,
}

/// Runs the command.
pub(crate) async fn token(
    args: TokenArgs,
    settings: Settings,
    out: &Output,
) -> Result<ExitCode, CliError> {
    let broker = connect::broker(&settings).await?;
    match args.command {
        TokenCommand::New(args) => {
            let made = tokens::issue(broker.as_ref(), &args.name, args.scopes, args.ttl).await?;
            show_new(&made.0, &made.1, out)
        }
        TokenCommand::List => show_all(&tokens::list(broker.as_ref()).await?, out),
        TokenCommand::Revoke { id } => match tokens::revoke(broker.as_ref(), &id).await? {
            true => {
                out.note(&format!("{id} is revoked"));
                Ok(Exit::Success.into())
            }
            false => Err(CliError::new(
                Exit::NotFound,
                format!("there is no token `{}`", harmless(&id)),
                "`celeriac token list` lists them by their ids",
            )),
        },
    }
}

fn show_new(secret: &str, token: &Token, out: &Output) -> Result<ExitCode, CliError> {
    if out.is_json {
        let mut document = document(token);
        if let Some(fields) = document.as_object_mut() {
            fields.insert("token".to_owned(), secret.into());
        }
        out.document(&document)?;
        return Ok(Exit::Success.into());
    }
    out.note(&format!(
        "token {} may {}; it is shown this once:",
        token.id,
        words(token)
    ));
    out.line(secret)?;
    Ok(Exit::Success.into())
}

fn show_all(tokens: &[Token], out: &Output) -> Result<ExitCode, CliError> {
    if out.is_json {
        let documents: Vec<_> = tokens.iter().map(document).collect();
        out.document(&json!({ "tokens": documents }))?;
    } else if tokens.is_empty() {
        out.note("there are no tokens: `celeriac token new` makes one");
    } else {
        out.table(
            ["ID", "NAME", "SCOPES"],
            tokens
                .iter()
                .map(|token| {
                    [
                        Cell::new(&token.id),
                        Cell::new(harmless(&token.name)),
                        Cell::new(words(token)),
                    ]
                })
                .collect(),
        )?;
    }
    Ok(Exit::Success.into())
}

fn words(token: &Token) -> String {
    let words: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
    words.join(", ")
}

/// A token for programs: without its hash.
fn document(token: &Token) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "created_at_ms": token.created_at_ms,
        "expires_at_ms": token.expires_at_ms,
    })
}
