//! From JSON Schemas to Python types. Schemas come from whoever made the module: nothing of them reaches the
//! output but as an identifier that is made of safe characters, or inside a quoted text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How deep a schema is followed; what is deeper is `Any`.
const DEPTH: usize = 16;

/// Words that cannot be names in Python; and those that the written functions use themselves.
const TAKEN_WORDS: &str = " and as assert async await break class continue def del elif else except finally for from \
    global if import in is lambda nonlocal not or pass raise return try while with yield \
    client options input result handle _input str int float bool bytes list dict tuple ";

/// The classes that the types of a module need, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// Name and definition.
    written: Vec<(String, String)>,
    /// What each definition of the schema at hand is called; its text while it is being made is not known yet.
    names: BTreeMap<String, String>,
}

/// A parameter of a function: a property of its input.
#[derive(Debug)]
pub(super) struct Parameter {
    /// What it is called in Python.
    pub(super) name: String,
    /// What it is called in the input, as a Python text.
    pub(super) field: String,
    /// Its type.
    pub(super) kind: String,
    /// Whether it must be given.
    pub(super) is_required: bool,
}

impl Classes {
    /// Begins with the schema of another input or output: its definitions are its own.
    pub(super) fn begin(&mut self) {
        self.names.clear();
    }

    /// The definitions of all classes.
    pub(super) fn text(&self) -> String {
        self.written
            .iter()
            .map(|(_, text)| format!("\n\n{text}"))
            .collect()
    }

    /// The type of what a schema describes; `hint` names a class that has no name of its own.
    pub(super) fn kind(
        &mut self,
        root: &Value,
        schema: &Value,
        hint: &str,
        depth: usize,
    ) -> String {
        let Some(schema) = schema.as_object().filter(|_| depth < DEPTH) else {
            return "Any".to_owned();
        };
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            return self.reference(root, reference, depth);
        }
        if let Some(value) = schema.get("const") {
            return literal([value]);
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return literal(values);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(choices) = schema.get(choice).and_then(Value::as_array) {
                let kinds = choices
                    .iter()
                    .map(|one| self.kind(root, one, hint, depth + 1));
                return union(kinds.collect());
            }
        }
        match schema
            .get("allOf")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            Some([one]) => return self.kind(root, one, hint, depth + 1),
            Some(_) => return "Any".to_owned(),
            None => {}
        }
        match schema.get("type") {
            Some(Value::String(kind)) => self.typed(root, schema, kind, hint, depth),
            Some(Value::Array(kinds)) => {
                let kinds = kinds.iter().filter_map(Value::as_str);
                let kinds = kinds.map(|kind| self.typed(root, schema, kind, hint, depth));
                union(kinds.collect())
            }
            _ => "Any".to_owned(),
        }
    }

    fn typed(
        &mut self,
        root: &Value,
        schema: &Map<String, Value>,
        kind: &str,
        hint: &str,
        depth: usize,
    ) -> String {
        match kind {
            "string" => "str".to_owned(),
            "integer" => "int".to_owned(),
            "number" => "float".to_owned(),
            "boolean" => "bool".to_owned(),
            "null" => "None".to_owned(),
            "array" => self.array(root, schema, hint, depth),
            "object" if schema.contains_key("properties") => {
                let title = schema.get("title").and_then(Value::as_str);
                let name = camel(title.unwrap_or(hint));
                self.class(root, schema, &name, depth)
            }
            "object" => {
                let values = match schema.get("additionalProperties") {
                    Some(values) => self.kind(root, values, hint, depth + 1),
                    None => "Any".to_owned(),
                };
                format!("dict[str, {values}]")
            }
            _ => "Any".to_owned(),
        }
    }

    fn array(
        &mut self,
        root: &Value,
        schema: &Map<String, Value>,
        hint: &str,
        depth: usize,
    ) -> String {
        let hint = format!("{hint}Item");
        if let Some(items) = schema.get("prefixItems").and_then(Value::as_array) {
            let items = items
                .iter()
                .map(|item| self.kind(root, item, &hint, depth + 1));
            return format!("tuple[{}]", items.collect::<Vec<_>>().join(", "));
        }
        match schema.get("items") {
            Some(items) => format!("list[{}]", self.kind(root, items, &hint, depth + 1)),
            None => "list[Any]".to_owned(),
        }
    }

    fn reference(&mut self, root: &Value, reference: &str, depth: usize) -> String {
        let Some(target) = reference
            .strip_prefix('#')
            .and_then(|path| root.pointer(path))
        else {
            return "Any".to_owned();
        };
        let is_class = target.get("properties").is_some();
        if !is_class {
            return self.kind(root, target, "Value", depth + 1);
        }
        if let Some(name) = self.names.get(reference) {
            return name.clone();
        }
        let name = camel(reference.rsplit('/').next().unwrap_or_default());
        // Known before it is made: it may contain itself.
        self.names.insert(reference.to_owned(), name.clone());
        let made = match target.as_object() {
            Some(target) => self.class(root, target, &name, depth + 1),
            None => "Any".to_owned(),
        };
        self.names.insert(reference.to_owned(), made.clone());
        made
    }

    /// Writes a class and returns its name: another one when there is a different class of this name.
    fn class(
        &mut self,
        root: &Value,
        schema: &Map<String, Value>,
        name: &str,
        depth: usize,
    ) -> String {
        let fields = self.parameters(root, schema, name, depth);
        let fields = fields.iter().map(|field| match field.is_required {
            true => format!("{}: {}", field.field, field.kind),
            false => format!("{}: NotRequired[{}]", field.field, field.kind),
        });
        let fields: Vec<_> = fields.collect();
        let mut name = name.to_owned();
        loop {
            // The form that takes any text as the name of a field.
            let text = format!(
                "{name} = TypedDict(\n    \"{name}\",\n    {{\n        {}\n    }},\n)",
                fields
                    .iter()
                    .map(|field| format!("{field},"))
                    .collect::<Vec<_>>()
                    .join("\n        ")
            );
            match self.written.iter().find(|(other, _)| *other == name) {
                None => {
                    self.written.push((name.clone(), text));
                    return name;
                }
                Some((_, same)) if *same == text => return name,
                Some(_) => name.push('_'),
            }
        }
    }

    /// The properties of an object as parameters, those that must be given first.
    pub(super) fn parameters(
        &mut self,
        root: &Value,
        schema: &Map<String, Value>,
        hint: &str,
        depth: usize,
    ) -> Vec<Parameter> {
        let required = schema.get("required").and_then(Value::as_array);
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut parameters: Vec<_> = properties
            .into_iter()
            .flatten()
            .map(|(field, schema)| Parameter {
                name: identifier(field),
                field: quoted(field),
                kind: self.kind(root, schema, &format!("{hint}{}", camel(field)), depth + 1),
                is_required: required
                    .is_some_and(|required| required.iter().any(|name| name == field)),
            })
            .collect();
        parameters.sort_by_key(|parameter| !parameter.is_required);
        parameters
    }
}

fn literal<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let mut kinds = Vec::new();
    for value in values {
        kinds.push(match value {
            Value::String(text) => format!("Literal[{}]", quoted(text)),
            Value::Bool(true) => "Literal[True]".to_owned(),
            Value::Bool(false) => "Literal[False]".to_owned(),
            Value::Number(number) if number.is_i64() => format!("Literal[{number}]"),
            Value::Number(_) => "float".to_owned(),
            Value::Null => "None".to_owned(),
            _ => "Any".to_owned(),
        });
    }
    union(kinds)
}

fn union(kinds: Vec<String>) -> String {
    let mut distinct: Vec<String> = Vec::new();
    for kind in kinds {
        if !distinct.contains(&kind) {
            distinct.push(kind);
        }
    }
    match distinct.is_empty() || distinct.iter().any(|kind| kind == "Any") {
        true => "Any".to_owned(),
        false => distinct.join(" | "),
    }
}

/// A Python text: JSON's is one, as long as nothing but quotes, backslashes and control characters is escaped.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A name for a function or a parameter.
pub(super) fn identifier(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    // A capital letter begins a class, `None` and `True`.
    let is_class = name.starts_with(|c: char| c.is_ascii_uppercase());
    if is_class || TAKEN_WORDS.contains(&format!(" {name} ")) {
        name.push('_');
    }
    name
}

/// A name for a class: `word-stats` becomes `WordStats`.
pub(super) fn camel(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let mut name = String::new();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    match name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        // What this file takes from elsewhere keeps its name.
        true if !TAKEN.contains(&name.as_str()) => name,
        _ => format!("{name}Value"),
    }
}

/// Names that the written module imports.
const TAKEN: [&str; 9] = [
    "Any",
    "AsyncClient",
    "Client",
    "Handle",
    "Literal",
    "NotRequired",
    "Options",
    "Payload",
    "SyncHandle",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_schema_says_cannot_leave_its_quotes() {
        assert_eq!(identifier("from"), "from_");
        assert_eq!(identifier("a b\"; import os"), "a_b___import_os");
        assert_eq!(identifier("bytes"), "bytes_");
        assert_eq!(identifier("None"), "None_");
        assert_eq!(identifier("9"), "_9");
        assert_eq!(identifier(""), "_");
        assert_eq!(quoted("\"\n\\"), r#""\"\n\\""#);
        assert_eq!(camel("word-stats"), "WordStats");
        assert_eq!(camel("Any"), "AnyValue");
        assert_eq!(camel("ä"), "Value");
    }

    #[test]
    fn a_type_that_contains_itself_ends() {
        let schema = serde_json::json!({
            "$ref": "#/$defs/Tree",
            "$defs": {"Tree": {"type": "object", "required": ["children"],
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}}}},
        });
        let mut classes = Classes::default();
        assert_eq!(classes.kind(&schema, &schema, "X", 0), "Tree");
        assert!(classes.text().contains(r#""children": list[Tree]"#));
        let endless = serde_json::json!({"anyOf": [{"$ref": "#"}]});
        assert_eq!(classes.kind(&endless, &endless, "X", 0), "Any");
    }
}
