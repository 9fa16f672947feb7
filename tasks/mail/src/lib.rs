//! Mail as a task: one message, sent through the SMTP server that the operator configured.
//!
//! | configuration | |
//! |---|---|
//! | `SMTP_HOST` | the server, needed |
//! | `SMTP_PORT` | 587 with STARTTLS, 465 with implicit TLS |
//! | `SMTP_TLS` | `starttls` (default) or `implicit`; there is no sending in the clear |
//! | `SMTP_USER` | signs in with it, and with the secret `smtp-password` |
//! | `SMTP_CA` | a certificate (PEM) that is trusted besides the public ones |

mod address;
mod message;
mod settings;
mod smtp;
mod tls;

use celeriac_guest::{Context, Failure, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::message::Message;
use crate::settings::Settings;
use crate::smtp::Session;

/// A message.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// `somebody@example.com` or `Some Body <somebody@example.com>`.
    pub from: String,
    /// Whom it is for.
    #[serde(default)]
    pub to: Vec<String>,
    /// Who else gets it, for all to see.
    #[serde(default)]
    pub cc: Vec<String>,
    /// Who else gets it, for nobody to see.
    #[serde(default)]
    pub bcc: Vec<String>,
    /// The subject, one line.
    pub subject: String,
    /// The body as text.
    pub text: Option<String>,
    /// The body as HTML; with `text` both go, and the reader shows what it can.
    pub html: Option<String>,
}

/// What the server took.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// The message's id: the same for all attempts of an invocation, so that receivers can drop a double.
    pub message_id: String,
    /// Addresses that the server took.
    pub accepted: Vec<String>,
    /// Addresses that it refused, and what it said.
    pub refused: Vec<(String, String)>,
    /// What the server said in the end.
    pub reply: String,
}

/// Sends a message. A server that says "not now" is a failure that can be retried, one that says "no" is not.
#[task(
    needs(
        tcp = "*",
        secret = "smtp-password",
        config = "SMTP_HOST",
        config = "SMTP_PORT",
        config = "SMTP_TLS",
        config = "SMTP_USER",
        config = "SMTP_CA"
    ),
    retries = 3
)]
pub fn send(ctx: &Context, mail: Mail) -> Result<Sent, Failure> {
    let message = Message::new(ctx.id(), &mail)?;
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let password = match settings.user {
        Some(_) => Some(ctx.secret("smtp-password")?),
        None => None,
    };
    let mut session = Session::open(&settings, message.from.domain())?;
    if let (Some(user), Some(password)) = (&settings.user, &password) {
        session.sign_in(user, password)?;
    }
    let (accepted, refused) = session.envelope(&message.from, &message.recipients)?;
    let reply = session.data(&message.text)?;
    session.quit();
    Ok(Sent {
        message_id: message.id,
        accepted,
        refused,
        reply,
    })
}

/// A failure that trying again does not cure.
fn invalid(text: impl Into<String>) -> Failure {
    Failure::new("invalid-input", text)
}

/// All recipients, each once.
fn recipients(mail: &Mail) -> Result<Vec<Address>, Failure> {
    let mut all = Vec::new();
    for text in mail.to.iter().chain(&mail.cc).chain(&mail.bcc) {
        let address = Address::parse(text)?;
        if !all
            .iter()
            .any(|known: &Address| known.mailbox == address.mailbox)
        {
            all.push(address);
        }
    }
    if all.is_empty() {
        return Err(invalid("there is no recipient: give `to`, `cc` or `bcc`"));
    }
    Ok(all)
}
