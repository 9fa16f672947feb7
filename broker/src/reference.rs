//! References in an input to what the parents of its invocation came to.
//!
//! A reference is an object with one key. It stands for what is in the store when an attempt begins; hosts put that in its
//! place. Here is only how one is written.

use serde_json::Value;

use crate::Payload;

/// What an object with one key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `{"$output": N}`: the output of parent number N, from 0.
    Output(usize),
    /// `{"$outcome": N}`: what parent number N came to.
    Outcome(usize),
    /// `{"$outputs": true}`: the outputs of all parents.
    Outputs,
    /// `{"$outcomes": true}`: what all parents came to.
    Outcomes,
}

impl Reference {
    /// What this value stands for; none: for itself.
    pub fn read(value: &Value) -> Option<Self> {
        let object = value.as_object().filter(|object| object.len() == 1)?;
        let (key, of) = object.iter().next()?;
        let number = || usize::try_from(of.as_u64()?).ok();
        match key.as_str() {
            "$output" => number().map(Self::Output),
            "$outcome" => number().map(Self::Outcome),
            "$outputs" if *of == Value::Bool(true) => Some(Self::Outputs),
            "$outcomes" if *of == Value::Bool(true) => Some(Self::Outcomes),
            _ => None,
        }
    }

    /// Whether there may be one in this input: false at a glance for nearly all that have none.
    pub fn may_be_in(input: &Payload) -> bool {
        let is_mentioned = || input.data.windows(5).any(|word| word == b"\"$out");
        input.is_json() && is_mentioned()
    }

    /// Whether there is one in this input. What is no JSON has none.
    pub fn is_in(input: &Payload) -> bool {
        Self::may_be_in(input) && input.parse().is_ok_and(|document| has_any(&document))
    }
}

fn has_any(value: &Value) -> bool {
    Reference::read(value).is_some()
        || match value {
            Value::Array(items) => items.iter().any(has_any),
            Value::Object(fields) => fields.values().any(has_any),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_wherever_it_stands() {
        for text in [
            r#"{"$output":0}"#,
            r#"[1,{"a":{"$outcome":7}}]"#,
            r#"{"a":[{"$outputs":true}]}"#,
            r#"{"$outcomes":true}"#,
        ] {
            assert!(Reference::is_in(&Payload::json_text(text)), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for text in [
            "1",
            r#""$output""#,
            r#"{"$output":0,"more":1}"#,
            r#"{"$output":-1}"#,
            r#"{"$outputs":false}"#,
            r#"{"$out":0}"#,
            r#"{"$output":0"#,
        ] {
            assert!(!Reference::is_in(&Payload::json_text(text)), "{text}");
        }
        assert!(!Reference::is_in(&Payload::bytes(
            "text/plain",
            r#"{"$output":0}"#
        )));
    }
}
