//! What is taped of rights: the answers of the key-value store and of other tasks, and what is said of refusals.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::tape::Tape;
use super::transcript::Answer;
use crate::engine::{
    AccessError, CallFailed, CalledTask, Denials, Denied, KeyValues, Payload, Tasks,
};

/// Keeps the answers of `inner`, or gives those of the tape where there is none.
pub(super) struct Taped<T: ?Sized> {
    pub(super) inner: Option<Arc<T>>,
    pub(super) tape: Arc<Tape>,
}

/// An answer that may be an error.
type Told<T> = Result<T, Refusal>;

/// `AccessError` as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Refusal {
    Denied(String),
    Limit(String),
    Invalid(String),
    Unavailable(String),
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Denied(text) => Self::Denied(text),
            AccessError::Limit(text) => Self::Limit(text),
            AccessError::Invalid(text) => Self::Invalid(text),
            AccessError::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl From<Refusal> for AccessError {
    fn from(error: Refusal) -> Self {
        match error {
            Refusal::Denied(text) => Self::Denied(text),
            Refusal::Limit(text) => Self::Limit(text),
            Refusal::Invalid(text) => Self::Invalid(text),
            Refusal::Unavailable(text) => Self::Unavailable(text),
        }
    }
}

impl<T: ?Sized> Taped<T> {
    /// The recorded answer of a call; none while it is being recorded.
    async fn told<A: DeserializeOwned>(
        &self,
        call: &'static str,
        asked: String,
    ) -> Option<Result<A, AccessError>> {
        let entry = self.tape.told_or_wait(call, asked).await?;
        match entry.answer.read::<Told<A>>() {
            Ok(told) => Some(told.map_err(AccessError::from)),
            Err(why) => self.nonsense(&why).await,
        }
    }

    /// Keeps an answer.
    fn keep<A: Serialize + Clone>(&self, answer: &Result<A, AccessError>) {
        let told: Told<A> = answer.clone().map_err(Refusal::from);
        self.tape.note(Answer::of(&told), 0);
    }

    fn inner(&self) -> Result<&Arc<T>, AccessError> {
        let inner = self.inner.as_ref();
        inner.ok_or_else(|| AccessError::Unavailable("it is not there in a replay".to_owned()))
    }

    async fn nonsense<A>(&self, why: &super::Damaged) -> A {
        self.tape.nonsense(why);
        std::future::pending().await
    }
}

fn ttl(ttl_ms: Option<u64>) -> String {
    ttl_ms.map_or_else(String::new, |ttl| format!(" for {ttl} ms"))
}

#[async_trait::async_trait]
impl KeyValues for Taped<dyn KeyValues> {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, AccessError> {
        let told = self.tape.told_or_wait("key-value.get", key.to_owned());
        if let Some(entry) = told.await {
            return match entry.answer.read::<Told<()>>() {
                Ok(told) => told.map(|()| entry.answer.bytes).map_err(AccessError::from),
                Err(why) => self.nonsense(&why).await,
            };
        }
        let answer = self.inner()?.get(key).await;
        let told: Told<()> = answer.clone().map(drop).map_err(Refusal::from);
        let bytes = answer.as_ref().ok().and_then(Option::as_deref);
        self.tape.note(Answer::with(&told, bytes, None), 0);
        answer
    }

    async fn set(&self, key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), AccessError> {
        let asked = format!("{key} to {} bytes{}", value.len(), ttl(ttl_ms));
        if let Some(told) = self.told("key-value.set", asked).await {
            return told;
        }
        let answer = self.inner()?.set(key, value, ttl_ms).await;
        self.keep(&answer);
        answer
    }

    async fn delete(&self, key: &str) -> Result<bool, AccessError> {
        if let Some(told) = self.told("key-value.delete", key.to_owned()).await {
            return told;
        }
        let answer = self.inner()?.delete(key).await;
        self.keep(&answer);
        answer
    }

    async fn increment(&self, key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, AccessError> {
        let asked = format!("{key} by {by}{}", ttl(ttl_ms));
        if let Some(told) = self.told("key-value.increment", asked).await {
            return told;
        }
        let answer = self.inner()?.increment(key, by, ttl_ms).await;
        self.keep(&answer);
        answer
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: Option<&[u8]>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, AccessError> {
        let size = |bytes: Option<&[u8]>| {
            bytes.map_or_else(
                || "none".to_owned(),
                |bytes| format!("{} bytes", bytes.len()),
            )
        };
        let (old, new) = (size(expected), size(value));
        let asked = format!("{key} from {old} to {new}{}", ttl(ttl_ms));
        if let Some(told) = self.told("key-value.compare-and-set", asked).await {
            return told;
        }
        let inner = self.inner()?;
        let answer = inner.compare_and_set(key, expected, value, ttl_ms).await;
        self.keep(&answer);
        answer
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, AccessError> {
        let asked = format!("{limit} of {prefix} after {}", after.unwrap_or_default());
        if let Some(told) = self.told("key-value.list-keys", asked).await {
            return told;
        }
        let answer = self.inner()?.list(prefix, after, limit).await;
        self.keep(&answer);
        answer
    }
}

/// What a call of another task came to, as it is written; the bytes stand beside it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Called {
    Json(String),
    Bytes(String),
    Refused(Refusal),
    Failed {
        id: String,
        code: String,
        kind: String,
        message: String,
        retryable: bool,
    },
}

impl From<&Result<Payload, CallFailed>> for Called {
    fn from(answer: &Result<Payload, CallFailed>) -> Self {
        match answer.clone() {
            Ok(Payload::Json(text)) => Self::Json(text),
            Ok(Payload::Bytes { content_type, .. }) => Self::Bytes(content_type),
            Err(CallFailed::Refused(refused)) => Self::Refused(refused.into()),
            Err(CallFailed::Failed {
                id,
                code,
                kind,
                message,
                retryable,
            }) => Self::Failed {
                id,
                code,
                kind,
                message,
                retryable,
            },
        }
    }
}

impl Called {
    fn answer(self, bytes: Option<Vec<u8>>) -> Result<Payload, CallFailed> {
        match self {
            Self::Json(text) => Ok(Payload::Json(text)),
            Self::Bytes(content_type) => Ok(Payload::Bytes {
                content_type,
                data: bytes.unwrap_or_default(),
            }),
            Self::Refused(refused) => Err(CallFailed::Refused(refused.into())),
            Self::Failed {
                id,
                code,
                kind,
                message,
                retryable,
            } => Err(CallFailed::Failed {
                id,
                code,
                kind,
                message,
                retryable,
            }),
        }
    }
}

fn call_of(called: &CalledTask) -> String {
    format!("{} on {} bytes", called.task, called.input.len())
}

#[async_trait::async_trait]
impl Tasks for Taped<dyn Tasks> {
    async fn submit(&self, called: CalledTask) -> Result<String, AccessError> {
        if let Some(told) = self.told("tasks.submit", call_of(&called)).await {
            return told;
        }
        let answer = self.inner()?.submit(called).await;
        self.keep(&answer);
        answer
    }

    async fn call(&self, called: CalledTask) -> Result<Payload, CallFailed> {
        let told = self.tape.told_or_wait("tasks.call", call_of(&called));
        if let Some(entry) = told.await {
            return match entry.answer.read::<Called>() {
                Ok(told) => told.answer(entry.answer.bytes),
                Err(why) => self.nonsense(&why).await,
            };
        }
        let answer = match self.inner() {
            Ok(inner) => inner.call(called).await,
            Err(refused) => Err(CallFailed::Refused(refused)),
        };
        let bytes = match &answer {
            Ok(Payload::Bytes { data, .. }) => Some(data.as_slice()),
            _ => None,
        };
        let told = Answer::with(&Called::from(&answer), bytes, None);
        self.tape.note(told, 0);
        answer
    }
}

impl Denials for Taped<dyn Denials> {
    /// Only what the guest reads is an answer: what is said of the network and of directories goes to logs, at any time.
    fn deny(&self, denied: &Denied) -> String {
        let real = || match &self.inner {
            Some(inner) => inner.deny(denied),
            None => format!("{denied} is not granted to this task"),
        };
        if !["secret", "kv", "tasks"].contains(&denied.kind) {
            return real();
        }
        match self.tape.told("denied", denied.to_string()) {
            Ok(Some(entry)) => entry.answer.read().unwrap_or_else(|why| {
                self.tape.nonsense(&why);
                String::new()
            }),
            Ok(None) => {
                let sentence = real();
                self.tape.note(Answer::of(&sentence), 0);
                sentence
            }
            Err(_) => String::new(),
        }
    }
}
