//! What evaluating a schema costs at most, found out before it is compiled and before each evaluation.
//!
//! Schemas can be bombs: references double what is to be evaluated at every level, or lead back to themselves without
//! looking at anything smaller. So a walk that takes every branch, and counts, goes first. It costs no more than it
//! allows, and the validator does at most a small multiple of it: where a branch may be skipped, the walk takes it.

use serde_json::{Map, Value};

/// What a schema may have when every reference is followed once.
const MAX_NODES: u64 = 5_000;
/// Steps of one evaluation: well below a tenth of a second.
const MAX_STEPS: u64 = 200_000;
/// How deep either may go; the validator's stack grows with it.
const MAX_DEPTH: u32 = 200;
/// Bytes of one pattern.
const MAX_PATTERN: usize = 1024;
/// What a pattern costs beside a plain keyword when it is compiled.
const PATTERN_NODES: u64 = 100;
/// Bytes of text that are one step.
const TEXT: usize = 32;

/// Keywords whose meaning depends on more than the place where they stand, or that evaluate the whole again for each
/// member: a schema with one is not used.
const UNUSABLE: &[&str] = &[
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependencies",
];

/// Keywords that hold data or definitions, and nothing that is evaluated where they stand.
const INERT: &[&str] = &[
    "$defs",
    "definitions",
    "default",
    "examples",
    "example",
    "const",
    "enum",
    "required",
    "type",
    "$schema",
    "title",
    "description",
];

/// Whether a schema is small and self-contained enough to be compiled.
pub(super) fn is_small(schema: &Value) -> bool {
    let mut walk = Walk::new(schema, MAX_NODES);
    walk.size(schema, 0).is_some() && walk.expand(schema, &mut Vec::new(), 0).is_some()
}

/// The steps of evaluating `schema` on `input`; none when they are too many.
pub(super) fn steps(schema: &Value, input: &Value) -> Option<u64> {
    let mut walk = Walk::new(schema, MAX_STEPS);
    walk.evaluate(schema, input, 0)?;
    Some(MAX_STEPS - walk.left)
}

struct Walk<'s> {
    root: &'s Value,
    left: u64,
}

impl<'s> Walk<'s> {
    fn new(root: &'s Value, left: u64) -> Self {
        Self { root, left }
    }

    fn pay(&mut self, steps: u64) -> Option<()> {
        self.left = self.left.checked_sub(steps)?;
        Some(())
    }

    /// Counts the whole document, definitions included: compiling looks at each part of it.
    fn size(&mut self, part: &Value, depth: u32) -> Option<()> {
        self.pay(1)?;
        (depth < MAX_DEPTH).then_some(())?;
        match part {
            Value::Object(members) => members
                .iter()
                .try_for_each(|(key, member)| self.member(key, member, depth)),
            Value::Array(items) => items.iter().try_for_each(|item| self.size(item, depth + 1)),
            Value::String(text) => self.pay((text.len() / TEXT) as u64),
            _ => Some(()),
        }
    }

    fn member(&mut self, key: &str, member: &Value, depth: u32) -> Option<()> {
        (!UNUSABLE.contains(&key)).then_some(())?;
        match (key, member) {
            ("pattern", Value::String(pattern)) => self.pattern(pattern)?,
            ("patternProperties", Value::Object(patterns)) => patterns
                .keys()
                .try_for_each(|pattern| self.pattern(pattern))?,
            ("$schema", Value::String(_)) if depth > 0 => return None,
            _ => {}
        }
        self.size(member, depth + 1)
    }

    fn pattern(&mut self, pattern: &str) -> Option<()> {
        (pattern.len() <= MAX_PATTERN).then_some(())?;
        self.pay(PATTERN_NODES)
    }

    /// Counts the schema with every reference in its place; one that leads back is followed once.
    fn expand(
        &mut self,
        part: &'s Value,
        within: &mut Vec<*const Value>,
        depth: u32,
    ) -> Option<()> {
        self.pay(1)?;
        (depth < MAX_DEPTH).then_some(())?;
        match part {
            Value::Object(members) => {
                for (key, member) in members {
                    if key == "$ref" {
                        let target = self.target(member)?;
                        let place: *const Value = target;
                        if !within.contains(&place) {
                            within.push(place);
                            self.expand(target, within, depth + 1)?;
                            within.pop();
                        }
                    } else if !INERT.contains(&key.as_str()) {
                        self.expand(member, within, depth + 1)?;
                    }
                }
                Some(())
            }
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.expand(item, within, depth + 1)),
            _ => Some(()),
        }
    }

    /// What a reference within this document points to.
    fn target(&self, reference: &Value) -> Option<&'s Value> {
        let pointer = reference.as_str()?.strip_prefix('#')?;
        let is_plain = pointer.is_empty() || pointer.starts_with('/');
        // Escapes of URIs are for names that no type has.
        (is_plain && !pointer.contains('%')).then_some(())?;
        self.root.pointer(pointer)
    }

    fn evaluate(&mut self, schema: &'s Value, input: &Value, depth: u32) -> Option<()> {
        self.pay(1)?;
        (depth < MAX_DEPTH).then_some(())?;
        let Value::Object(members) = schema else {
            return Some(());
        };
        if let Value::String(text) = input {
            self.pay((text.len() / TEXT) as u64)?;
        }
        for (key, member) in members {
            self.pay(1)?;
            self.keyword(key, member, input, depth)?;
        }
        Some(())
    }

    fn keyword(&mut self, key: &str, member: &'s Value, input: &Value, depth: u32) -> Option<()> {
        match (key, member) {
            ("$ref", _) => {
                let target = self.target(member)?;
                self.evaluate(target, input, depth + 1)
            }
            ("enum", Value::Array(values)) => self.pay(values.len() as u64 * (1 + size(input))),
            ("const" | "uniqueItems", _) => self.pay(1 + size(input)),
            ("properties", Value::Object(properties)) => self.properties(properties, input, depth),
            ("patternProperties", Value::Object(patterns)) => patterns
                .values()
                .try_for_each(|schema| self.members(schema, input, depth)),
            ("additionalProperties" | "propertyNames", _) => self.members(member, input, depth),
            ("items" | "prefixItems" | "additionalItems" | "contains", Value::Array(schemas)) => {
                schemas
                    .iter()
                    .try_for_each(|schema| self.items(schema, input, depth))
            }
            ("items" | "additionalItems" | "contains", _) => self.items(member, input, depth),
            ("dependentSchemas", Value::Object(schemas)) => schemas
                .values()
                .try_for_each(|schema| self.evaluate(schema, input, depth + 1)),
            (key, _) if INERT.contains(&key) => Some(()),
            // `allOf`, `anyOf`, `oneOf`, `not`, `if`, and whatever else may look at the same input again.
            (_, Value::Array(schemas)) => schemas
                .iter()
                .try_for_each(|schema| self.evaluate(schema, input, depth + 1)),
            (_, Value::Object(_)) => self.evaluate(member, input, depth + 1),
            _ => Some(()),
        }
    }

    fn properties(
        &mut self,
        properties: &'s Map<String, Value>,
        input: &Value,
        depth: u32,
    ) -> Option<()> {
        self.pay(properties.len() as u64)?;
        let Value::Object(members) = input else {
            return Some(());
        };
        for (name, schema) in properties {
            if let Some(member) = members.get(name) {
                self.evaluate(schema, member, depth + 1)?;
            }
        }
        Some(())
    }

    fn members(&mut self, schema: &'s Value, input: &Value, depth: u32) -> Option<()> {
        let Value::Object(members) = input else {
            return Some(());
        };
        for (name, member) in members {
            self.pay(1 + (name.len() / TEXT) as u64)?;
            self.evaluate(schema, member, depth + 1)?;
        }
        Some(())
    }

    fn items(&mut self, schema: &'s Value, input: &Value, depth: u32) -> Option<()> {
        let Value::Array(items) = input else {
            return Some(());
        };
        items
            .iter()
            .try_for_each(|item| self.evaluate(schema, item, depth + 1))
    }
}

/// The parts of a value: what comparing or hashing it looks at. Inputs are no deeper than a parser goes.
fn size(value: &Value) -> u64 {
    match value {
        Value::Object(members) => 1 + members.values().map(size).sum::<u64>(),
        Value::Array(items) => 1 + items.iter().map(size).sum::<u64>(),
        Value::String(text) => 1 + (text.len() / TEXT) as u64,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Definitions of which each refers to the next twice.
    fn doubling(levels: usize, wrap: impl Fn(Value) -> Value) -> Value {
        let mut defs = Map::new();
        for level in 0..levels {
            let next = json!({"$ref": format!("#/$defs/d{}", level + 1)});
            defs.insert(
                format!("d{level}"),
                json!({"allOf": [wrap(next.clone()), wrap(next)]}),
            );
        }
        defs.insert(format!("d{levels}"), json!(true));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    }

    #[test]
    fn references_that_double_are_too_large() {
        assert!(is_small(&doubling(4, |next| next)));
        assert!(!is_small(&doubling(40, |next| next)));
        assert!(!is_small(&doubling(40, |next| json!({"items": next}))));
    }

    #[test]
    fn a_schema_that_looks_twice_at_each_level_is_priced_by_its_input() {
        let schema = json!({"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]});
        assert!(is_small(&schema));
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert!(steps(&schema, &nested(5)).is_some());
        assert!(steps(&schema, &nested(60)).is_none());
    }

    #[test]
    fn a_reference_that_leads_back_without_looking_at_less_is_not_evaluated() {
        let schema = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"});
        assert!(steps(&schema, &json!(1)).is_none());
    }

    #[test]
    fn usual_schemas_cost_little() {
        let schema = json!({
            "type": "object",
            "properties": {"name": {"type": "string", "pattern": "^a+$"}, "n": {"enum": [1, 2, 3]}},
            "required": ["name"],
        });
        assert!(is_small(&schema));
        assert!(steps(&schema, &json!({"name": "aaa", "n": 2})).is_some_and(|steps| steps < 100));
    }
}
