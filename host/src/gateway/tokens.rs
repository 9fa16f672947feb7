//! Bearer tokens: random, scoped, kept as hashes in the broker's store, so that all hosts know them.
//!
//! A token is `cel_`, the 16 hex digits that name it, `_`, and 64 hex digits of secret. The store has the SHA-256 of
//! the secret under the name: for 256 random bits nothing slower is needed, and what is stolen from the
//! store opens nothing.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use celeriac_broker::{Broker, BrokerError, MAX_PAGE, TOKEN_STORE};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "cel_";
/// Hex digits of the name: 64 bits, so that no two tokens share one.
const ID_CHARS: usize = 16;
const SECRET_CHARS: usize = 64;
/// How long a token that was looked up is believed: so long a revoked one may still work.
const BELIEVED: Duration = Duration::from_secs(5);
/// Tokens that are remembered. More are looked up each time, which costs a round trip and nothing else.
const REMEMBERED: usize = 10_000;

/// What a token may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Hand in invocations, and cancel them.
    Submit,
    /// Read status, results, events, modules, queues and hosts.
    Read,
    /// Upload modules under any name.
    Upload,
    /// Everything.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Read, Self::Upload, Self::Admin];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Upload => "upload",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| {
            BrokerError::invalid("scope", text, "`submit`, `read`, `upload` or `admin`")
        })
    }
}

/// A token as the store has it: everything but the secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Names the token: its first part.
    pub id: String,
    /// What its maker called it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made, by its maker's clock: milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it ends; none: when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// The SHA-256 of the secret, hex.
    pub(crate) sha256: String,
}

impl Token {
    /// Whether it may be used for `scope`.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    fn is_opened_by(&self, secret: &str) -> bool {
        let presented = hash(secret);
        presented.as_bytes().ct_eq(self.sha256.as_bytes()).into()
    }
}

/// Makes a token and returns it with the text that its holder presents. That text is nowhere else.
///
/// # Errors
/// Those of the broker; `Damaged` when the system has no randomness to give.
pub async fn issue(
    broker: &dyn Broker,
    name: &str,
    scopes: Vec<Scope>,
    ttl: Option<Duration>,
) -> Result<(String, Token), BrokerError> {
    let (id, secret) = (random_hex(ID_CHARS)?, random_hex(SECRET_CHARS)?);
    let created_at_ms = now_ms();
    let token = Token {
        id: id.clone(),
        name: name.to_owned(),
        scopes,
        created_at_ms,
        expires_at_ms: ttl.map(|ttl| created_at_ms.saturating_add(millis(ttl))),
        sha256: hash(&secret),
    };
    let record = serde_json::to_vec(&token).map_err(|error| damaged(&id, &error))?;
    broker.kv_set(TOKEN_STORE, &id, record.into(), ttl).await?;
    Ok((format!("{PREFIX}{id}_{secret}"), token))
}

/// Every token that works.
///
/// # Errors
/// Those of the broker.
pub async fn list(broker: &dyn Broker) -> Result<Vec<Token>, BrokerError> {
    let mut tokens = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = broker
            .kv_list(TOKEN_STORE, "", after.as_deref(), MAX_PAGE)
            .await?;
        for id in &page {
            tokens.extend(read(broker, id).await?);
        }
        after = page.last().cloned();
        if page.len() < MAX_PAGE as usize {
            return Ok(tokens);
        }
    }
}

/// Ends a token; whether there was one.
///
/// # Errors
/// Those of the broker.
pub async fn revoke(broker: &dyn Broker, id: &str) -> Result<bool, BrokerError> {
    broker.kv_delete(TOKEN_STORE, id).await
}

async fn read(broker: &dyn Broker, id: &str) -> Result<Option<Token>, BrokerError> {
    let Some(record) = broker.kv_get(TOKEN_STORE, id).await? else {
        return Ok(None);
    };
    let token = serde_json::from_slice(&record).map_err(|error| damaged(id, &error))?;
    Ok(Some(token))
}

/// Tells tokens from other texts.
#[derive(Debug)]
pub(crate) struct Tokens {
    broker: Arc<dyn Broker>,
    /// Tokens that were looked up, each with when.
    seen: Mutex<HashMap<String, (Arc<Token>, Instant)>>,
}

impl Tokens {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            seen: Mutex::default(),
        }
    }

    /// The token that `presented` is, if it is one.
    pub(crate) async fn verify(&self, presented: &str) -> Result<Option<Arc<Token>>, BrokerError> {
        let Some((id, secret)) = parts(presented) else {
            return Ok(None);
        };
        let token = match self.remembered(id) {
            Some(token) => token,
            None => match read(self.broker.as_ref(), id).await? {
                Some(token) => self.remember(id, token),
                None => return Ok(None),
            },
        };
        Ok(token.is_opened_by(secret).then_some(token))
    }

    fn remembered(&self, id: &str) -> Option<Arc<Token>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, at) = seen.get(id)?;
        (at.elapsed() < BELIEVED).then(|| token.clone())
    }

    fn remember(&self, id: &str, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED {
            seen.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        }
        if seen.len() < REMEMBERED {
            seen.insert(id.to_owned(), (token.clone(), Instant::now()));
        }
        token
    }
}

/// The name and the secret in a token's text; none when it has another form.
fn parts(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let fits = id.len() == ID_CHARS && secret.len() == SECRET_CHARS && is_hex(id) && is_hex(secret);
    fits.then_some((id, secret))
}

fn hash(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

fn random_hex(chars: usize) -> Result<String, BrokerError> {
    let mut bytes = vec![0_u8; chars / 2];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(rest, flags).map_err(|error| BrokerError::Damaged {
            what: "the system's randomness".to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn damaged(id: &str, error: &serde_json::Error) -> BrokerError {
    BrokerError::Damaged {
        what: format!("token {id}"),
        reason: error.to_string(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    millis(now.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_of_its_form_are_looked_up() {
        let secret = "0123456789abcdef".repeat(4);
        let token = format!("cel_0123456789abcdef_{secret}");
        assert_eq!(parts(&token), Some(("0123456789abcdef", secret.as_str())));
        for text in [
            "",
            "cel_",
            "cel__",
            &token[1..],
            &token[..token.len() - 1],
            &token.to_uppercase(),
            &token.replace("0123456789abcdef_", "../../etc/passwd_"),
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_opens_its_own_token_only() {
        let token = Token {
            id: "0".repeat(16),
            name: "ci".to_owned(),
            scopes: vec![Scope::Submit],
            created_at_ms: 0,
            expires_at_ms: None,
            sha256: hash("secret"),
        };
        assert!(token.is_opened_by("secret"));
        assert!(!token.is_opened_by("secreT"));
        assert!(token.allows(Scope::Submit) && !token.allows(Scope::Read));
    }
}
