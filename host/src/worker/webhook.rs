//! The built-in task `celeriac/webhook`: tells a server what an invocation came to.
//!
//! Where it may go, and the key that it signs with, are granted in the policy as for any other module, to the module
//! `celeriac`. Each delivery is an invocation of its own, so that its retries and its trail are those of invocations.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use celeriac_broker::{
    BUILT_IN_MODULE, Code, Digest, Failure, Outcome, Payload, Reserved, Usage, WEBHOOK_TASK,
    Webhook,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::json;
use sha2::Sha256;

use crate::{
    engine::{Engine, Post, PostError},
    policy::{Identity, LivePolicy, Need},
};

/// How long one delivery may take: a server that works on it answers first.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The secret that deliveries are signed with, as the policy names it.
const SECRET: &str = "webhook";

/// `t=<seconds since 1970>,v1=<hex of HMAC-SHA256 over "<t>.<body>">`.
const SIGNATURE: HeaderName = HeaderName::from_static("celeriac-signature");

/// The id of the delivery: the same at each retry.
const DELIVERY: HeaderName = HeaderName::from_static("celeriac-delivery");

/// What the task asks for.
static NEEDS: LazyLock<Vec<Need>> = LazyLock::new(|| {
    let needs = [("http", "*"), ("secret", SECRET)];
    let needs = needs.iter().map(|(kind, name)| Need::parse(kind, name));
    needs.filter_map(Result::ok).collect()
});

/// Delivers for the host.
#[derive(Debug)]
pub(crate) struct Webhooks {
    pub(crate) engine: Engine,
    pub(crate) policy: Arc<LivePolicy>,
}

impl Webhooks {
    /// Makes one delivery.
    pub(crate) async fn deliver(&self, request: &Reserved) -> Outcome {
        let webhook = match request.input.parse::<Webhook>() {
            Ok(webhook) => webhook,
            Err(error) => return refused(format!("the webhook is not valid: {error}")),
        };
        let module = Identity {
            digest: Digest::of(BUILT_IN_MODULE.as_bytes()),
            name: Some(BUILT_IN_MODULE.to_owned()),
            versions: Vec::new(),
        };
        let rights = self.policy.granted(&module, WEBHOOK_TASK, &NEEDS).rights;
        let Some(secret) = rights.secrets.get(SECRET) else {
            return refused(format!(
                "webhooks are signed, and there is no key: grant one in the settings file, \
                 [grants.\"{BUILT_IN_MODULE}\"] secrets = {{ {SECRET} = {{ file = \"/PATH\" }} }}"
            ));
        };
        let id = request.lease.id.to_string();
        let body =
            Bytes::from(json!({ "delivery": id, "invocation": webhook.outcome }).to_string());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let signature = signature(secret.reveal(), now.as_secs(), &body);
        let post = Post {
            url: webhook.url,
            headers: match headers(&id, &signature) {
                Ok(headers) => headers,
                Err(error) => return refused(error.to_string()),
            },
            body,
            timeout: TIMEOUT,
        };
        outcome(self.engine.post(&rights, post).await)
    }
}

/// What a server verifies a delivery with.
fn signature(secret: &str, seconds: u64, body: &[u8]) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

fn headers(id: &str, signature: &str) -> Result<HeaderMap, header::InvalidHeaderValue> {
    let agent = concat!("celeriac/", env!("CARGO_PKG_VERSION"));
    Ok(HeaderMap::from_iter([
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::USER_AGENT, HeaderValue::from_static(agent)),
        (SIGNATURE, HeaderValue::from_str(signature)?),
        (DELIVERY, HeaderValue::from_str(id)?),
    ]))
}

fn outcome(answer: Result<u16, PostError>) -> Outcome {
    match answer {
        Ok(status @ 200..=299) => Outcome {
            code: Code::Ok,
            output: Some(Payload::json_text(json!({ "status": status }).to_string())),
            failure: None,
            usage: Usage::default(),
        },
        // It has understood, and does not want it: the same again would not be another thing.
        Ok(status @ 400..=499) if ![408, 425, 429].contains(&status) => {
            refused(format!("the server answered {status}"))
        }
        Ok(status) => failed(format!("the server answered {status}"), true),
        Err(PostError::Refused(why)) => refused(why),
        Err(PostError::Failed(why)) => failed(why, true),
    }
}

fn refused(message: String) -> Outcome {
    failed(message, false)
}

fn failed(message: String, retryable: bool) -> Outcome {
    let mut outcome = Outcome::failed(Code::TaskError, message.clone());
    outcome.failure = Some(Failure {
        kind: "webhook".to_owned(),
        message,
        retryable,
        ..Failure::default()
    });
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_hmac_over_time_and_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'a key of mine'
        let signed = signature("a key of mine", 1_700_000_000, b"{\"a\":1}");
        assert_eq!(
            signed,
            "t=1700000000,v1=1b01c3c3abfb48ab32fd74f9e6dfa42b9d85d6dcd61400389a5fd95684291c47"
        );
    }

    #[test]
    fn a_server_that_may_think_otherwise_later_is_asked_again() {
        for (status, is_tried_again) in [(500, true), (429, true), (302, true), (404, false)] {
            let failure = outcome(Ok(status)).failure.unwrap();
            assert_eq!(failure.retryable, is_tried_again, "{status}");
        }
        assert_eq!(outcome(Ok(204)).code, Code::Ok);
    }
}
