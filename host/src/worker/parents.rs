//! What the parents of an invocation came to, put into its input where that asks for it.
//!
//! The input of an invocation that waits for others may hold references: objects with one key. They stand for what is in
//! the store when the attempt begins, so that nothing is copied before it is needed:
//! - `{"$output": N}`: the output of parent number N, from 0, in the order in which they were named; null where it has none;
//! - `{"$outputs": true}`: the outputs of all parents, in order;
//! - `{"$outcome": N}`, `{"$outcomes": true}`: the same with id, code and failure, for ends other than success.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use celeriac_broker::{After, Broker, BrokerError, Code, LimitHit, Outcome, Payload, Reference};
use serde_json::{Value, json};

/// Outcomes read in one request: a few large ones must not fill the memory at once.
const CHUNK: usize = 16;

/// Why an input cannot be made.
pub(crate) enum Unfilled {
    /// The broker does not answer: another time.
    Later(BrokerError),
    /// Never: the invocation fails with this.
    Failed(Box<Outcome>),
}

/// Puts what the parents came to where `input` refers to it. An input without references is not read.
pub(crate) async fn fill(
    broker: &dyn Broker,
    after: &[After],
    input: &mut Payload,
) -> Result<(), Unfilled> {
    if after.is_empty() || !Reference::may_be_in(input) {
        return Ok(());
    }
    // What is no JSON the task may refuse.
    let Ok(document) = input.parse::<Value>() else {
        return Ok(());
    };
    let mut wanted = BTreeMap::new();
    want(&document, after.len(), &mut wanted)?;
    read(broker, after, &mut wanted).await?;
    *input = match (Reference::read(&document), &mut wanted) {
        // The whole input is one output: handed on as it is, whatever it consists of.
        (Some(Reference::Output(number)), wanted) => match wanted.remove(&number).flatten() {
            Some(Outcome {
                output: Some(output),
                ..
            }) => output,
            _ => Payload::json_text("null"),
        },
        _ => Payload::json_text(replace(document, after, &wanted).to_string()),
    };
    Ok(())
}

/// The outcomes that an input refers to, by the number of the parent.
type Wanted = BTreeMap<usize, Option<Outcome>>;

/// Finds the parents that `value` refers to.
fn want(value: &Value, parents: usize, wanted: &mut Wanted) -> Result<(), Unfilled> {
    match (Reference::read(value), value) {
        (Some(Reference::Output(number) | Reference::Outcome(number)), _) => {
            if number >= parents {
                let message = format!(
                    "the input refers to parent number {number}, and the invocation waits for {parents}: the first one is number 0"
                );
                return Err(failed(Code::TaskError, message));
            }
            wanted.insert(number, None);
        }
        (Some(Reference::Outputs | Reference::Outcomes), _) => {
            wanted.extend((0..parents).map(|number| (number, None)));
        }
        (None, Value::Array(items)) => {
            for item in items {
                want(item, parents, wanted)?;
            }
        }
        (None, Value::Object(fields)) => {
            for field in fields.values() {
                want(field, parents, wanted)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads the outcomes, as long as together they are no larger than an input may be.
async fn read(broker: &dyn Broker, after: &[After], wanted: &mut Wanted) -> Result<(), Unfilled> {
    let (limit, mut bytes) = (broker.caps().input_bytes, 0);
    let numbers: Vec<usize> = wanted.keys().copied().collect();
    for chunk in numbers.chunks(CHUNK) {
        let ids = chunk
            .iter()
            .filter_map(|number| Some(after.get(*number)?.id));
        let ids: Vec<_> = ids.collect();
        let outcomes = broker.outcomes(&ids, None).await.map_err(Unfilled::Later)?;
        for ((number, id), outcome) in chunk.iter().zip(ids).zip(outcomes) {
            let gone = || {
                let message = format!(
                    "what invocation {id}, which it waited for, came to is not in the store any more"
                );
                failed(Code::DependencyFailed, message)
            };
            let outcome = match outcome {
                Ok(Some(outcome)) => outcome,
                Ok(None) | Err(BrokerError::NotFound(_) | BrokerError::Expired(_)) => {
                    return Err(gone());
                }
                Err(error) if error.is_transient() => return Err(Unfilled::Later(error)),
                Err(error) => return Err(failed(Code::HostFault, error.to_string())),
            };
            let output = outcome.output.as_ref();
            bytes += output.map_or(0, |output| output.data.len() as u64);
            if bytes > limit {
                return Err(too_large(bytes, limit));
            }
            wanted.insert(*number, Some(outcome));
        }
    }
    Ok(())
}

/// The document with everything that it refers to.
fn replace(value: Value, after: &[After], wanted: &Wanted) -> Value {
    let all = |what: &dyn Fn(usize) -> Value| Value::Array((0..after.len()).map(what).collect());
    let output = |number: usize| output(wanted.get(&number).and_then(Option::as_ref));
    let outcome = |number: usize| match (after.get(number), wanted.get(&number)) {
        (Some(parent), Some(Some(outcome))) => json!({
            "id": parent.id,
            "code": outcome.code,
            "output": output(number),
            "failure": outcome.failure,
        }),
        _ => Value::Null,
    };
    match (Reference::read(&value), value) {
        (Some(Reference::Output(number)), _) => output(number),
        (Some(Reference::Outcome(number)), _) => outcome(number),
        (Some(Reference::Outputs), _) => all(&output),
        (Some(Reference::Outcomes), _) => all(&outcome),
        (None, Value::Array(items)) => {
            let items = items.into_iter();
            Value::Array(items.map(|item| replace(item, after, wanted)).collect())
        }
        (None, Value::Object(fields)) => {
            let fields = fields.into_iter();
            Value::Object(
                fields
                    .map(|(name, field)| (name, replace(field, after, wanted)))
                    .collect(),
            )
        }
        (None, value) => value,
    }
}

/// An output within a document: JSON as it is, bytes as an object with their type and base64.
fn output(outcome: Option<&Outcome>) -> Value {
    let Some(output) = outcome.and_then(|outcome| outcome.output.as_ref()) else {
        return Value::Null;
    };
    match output.parse() {
        Ok(value) => value,
        Err(_) => json!({
            "content_type": output.content_type,
            "base64": STANDARD.encode(&output.data),
        }),
    }
}

fn failed(code: Code, message: String) -> Unfilled {
    Unfilled::Failed(Box::new(Outcome::failed(code, message)))
}

fn too_large(seen: u64, allowed: u64) -> Unfilled {
    let message = format!(
        "the outputs that the input refers to have more than {allowed} bytes together, which is the most an input may have"
    );
    let mut outcome = Outcome::failed(Code::InputTooLarge, message);
    if let Some(failure) = &mut outcome.failure {
        failure.limit = Some(LimitHit {
            name: "input_bytes".to_owned(),
            allowed,
            seen,
            remedy: "have the parents return less, or raise `caps.input`".to_owned(),
        });
    }
    Unfilled::Failed(Box::new(outcome))
}

#[cfg(test)]
mod tests {
    use celeriac_broker::{Namespace, Usage};

    use super::*;

    fn ended(output: Payload) -> Option<Outcome> {
        Some(Outcome {
            code: Code::Ok,
            output: Some(output),
            failure: None,
            usage: Usage::default(),
        })
    }

    #[test]
    fn references_are_replaced_wherever_they_stand() {
        let namespace = Namespace::generate();
        let after = [
            After::done(namespace.issue(0)),
            After::done(namespace.issue(0)),
        ];
        let failure = Some(Outcome::failed(Code::TaskError, "no"));
        let wanted = BTreeMap::from([(0, ended(Payload::json_text("[1]"))), (1, failure)]);
        let document = json!({
            "a": [{"$output": 0}, {"$output": 1}],
            "b": {"$outputs": true},
            "c": {"$outcome": 1},
            "same": [{"$output": 0, "more": 1}, {"$outputs": false}, {"$else": 0}],
        });
        let replaced = replace(document.clone(), &after, &wanted);
        assert_eq!(replaced["a"], json!([[1], null]));
        assert_eq!(replaced["b"], json!([[1], null]));
        assert_eq!(replaced["c"]["code"], "task_error");
        assert_eq!(replaced["c"]["id"], json!(after[1].id));
        assert_eq!(replaced["c"]["failure"]["message"], "no");
        assert_eq!(replaced["same"], document["same"]);
    }

    #[test]
    fn bytes_within_a_document_are_base64() {
        let bytes = ended(Payload::bytes("image/png", vec![1, 2, 3]));
        let expected = json!({"content_type": "image/png", "base64": "AQID"});
        assert_eq!(output(bytes.as_ref()), expected);
    }

    #[test]
    fn a_parent_that_there_is_not_is_refused() {
        let wanted = &mut BTreeMap::new();
        assert!(want(&json!([{"$output": 1}]), 2, wanted).is_ok());
        assert!(want(&json!([{"$outcome": 2}]), 2, wanted).is_err());
        assert_eq!(wanted.len(), 1);
    }
}
