//! What dead letters are in queries, bodies and answers.

use celeriac_broker::{
    Code, DeadFilter, DeadLetter, DeadList, InvocationId, Options, TaskFilter, check_name,
};
use serde::{Deserialize, Serialize, de::IntoDeserializer as _};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::gateway::{body, payload::present, problem::Problem};

/// Which dead letters are meant: everything that is given must hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Their task: `images` for all of a module, `images/resize` for one.
    #[param(value_type = Option<String>, pattern = "^[a-z0-9][a-z0-9._-]{0,63}(/[a-z0-9][a-z0-9._-]{0,63})?$")]
    pub(super) task: Option<TaskFilter>,
    /// Their queue.
    #[param(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    pub(super) queue: Option<String>,
    /// What they failed with, with commas between, such as `trap,deadline`.
    #[param(pattern = "^[a-z_]{1,40}(,[a-z_]{1,40})*$")]
    pub(super) codes: Option<String>,
    /// Failed at this moment or later: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    pub(super) since_ms: Option<u64>,
    /// Failed before this moment: milliseconds since the Unix epoch.
    #[param(minimum = 0)]
    pub(super) until_ms: Option<u64>,
    /// How many on a page; left out: 50.
    #[param(minimum = 1, maximum = 500)]
    pub(super) limit: Option<usize>,
    /// The `cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// A page of dead letters, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetters {
    pub(super) letters: Vec<DeadLetter>,
    /// Where the next page begins. A page may be short, or empty, and not be the last: only no cursor means that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
}

/// A dead letter with what was handed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WholeLetter {
    /// When and how it failed, with the attempts before the last.
    #[serde(flatten)]
    pub(super) letter: DeadLetter,
    /// How it was to be run.
    pub(super) options: Options,
    /// Its input, when it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable)]
    pub(super) input: Option<Box<RawValue>>,
    /// Its input, when it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input_base64: Option<String>,
    /// The input's media type.
    pub(super) content_type: String,
}

/// How a dead letter is retried. Without an input it is retried with its own.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryLetter {
    /// Another input, any JSON.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>, nullable)]
    pub(super) input: Option<Box<RawValue>>,
    /// Another input, when it is not JSON.
    #[schema(pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
    pub(super) input_base64: Option<String>,
    /// The media type of `input_base64`; left out: `application/octet-stream`.
    #[schema(pattern = "^[!-.0-~]{1,60}/[!-~][ -~]{0,119}$", example = "image/png")]
    pub(super) content_type: Option<String>,
    /// Run what the task's name points to now, instead of the module that failed.
    #[serde(default)]
    #[schema(required = false)]
    pub(super) latest: bool,
    /// The new invocation's id, made as `GET /v1/store` says: the same request again is then the same retry, also when
    /// the letter has given its place away.
    pub(super) id: Option<InvocationId>,
}

/// Which dead letters are retried, a page by each request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetryLetters {
    /// Those that everything in here holds for; something must be given.
    #[serde(deserialize_with = "body::object")]
    pub(super) filter: DeadFilter,
    /// Run what the tasks' names point to now, instead of the modules that failed.
    #[serde(default)]
    #[schema(required = false)]
    pub(super) latest: bool,
    /// How many by this request; left out: 50.
    #[schema(minimum = 1, maximum = 500)]
    pub(super) limit: Option<usize>,
    /// The `cursor` of the answer before.
    pub(super) cursor: Option<String>,
}

/// What retrying came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    /// Those that the filter asked for.
    pub(super) matched: u64,
    /// Those that were retried.
    pub(super) done: u64,
    /// Those that could not be, such as for want of their module: they stay.
    pub(super) refused: u64,
    /// Where the next request goes on: only no cursor means that these were the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<String>,
}

/// The codes that a query names.
pub(super) fn codes(text: Option<&str>) -> Result<Vec<Code>, Problem> {
    let code = |word: &str| {
        let read: Result<_, serde::de::value::Error> = Code::deserialize(word.into_deserializer());
        read.map_err(|error| Problem::new("invalid", format!("`codes`: {error}")))
    };
    let words = text.into_iter().flat_map(|text| text.split(','));
    words.map(code).collect()
}

/// What every engine can look for.
pub(super) fn checked(mut list: DeadList) -> Result<DeadList, Problem> {
    let filter = &mut list.filter;
    if let Some(queue) = &filter.queue {
        check_name("queue", queue)?;
    }
    for moment in [&mut filter.since_ms, &mut filter.until_ms] {
        *moment = moment.map(|ms| ms.min(i64::MAX.unsigned_abs()));
    }
    Ok(list)
}
