//! A Python module with two functions for each task: one awaits its output, one hands in and returns the handle.

use celeriac_broker::{Manifest, ModuleRef, TaskInfo};
use serde_json::Value;

use super::schema::{Classes, Parameter, camel, identifier, quoted};

/// What does not depend on the module. Nothing is imported that may go unused, as checkers complain about it.
const HEAD: &str = r#"# Do not edit: `celeriac stubs` writes it anew.
# ruff: noqa
from __future__ import annotations

from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from celeriac import CLIENT, HANDLE, Options, Payload


def _input(given: dict[str, Any], may_be_left_out: dict[str, Any]) -> dict[str, Any]:
    return given | {name: value for name, value in may_be_left_out.items() if value is not None}"#;

/// How a task's input is passed.
enum Input {
    /// Not at all.
    Nothing,
    /// As one value of this type.
    Value(String),
    /// As keyword arguments.
    Fields(Vec<Parameter>),
}

/// The whole file.
pub(super) fn module(module: &ModuleRef, manifest: &Manifest, is_blocking: bool) -> String {
    let mut classes = Classes::default();
    let functions: String = manifest
        .tasks
        .iter()
        .map(|task| functions(module, task, is_blocking, &mut classes))
        .collect();
    let (client, handle) = match is_blocking {
        true => ("Client", "SyncHandle"),
        false => ("AsyncClient", "Handle"),
    };
    let head = HEAD.replace("CLIENT", client).replace("HANDLE", handle);
    let title = document(
        &format!("Tasks of the module {module}, {}.", manifest.digest),
        "",
    );
    format!("{title}{head}{}{functions}\n", classes.text())
}

fn functions(
    module: &ModuleRef,
    task: &TaskInfo,
    is_blocking: bool,
    classes: &mut Classes,
) -> String {
    let output = match &task.output_schema {
        Some(schema) => whole(classes, schema, &format!("{}-output", task.name)),
        None => "bytes".to_owned(),
    };
    let input = input(task, classes);
    let (parameters, made) = (parameters(&input), made(&input));
    let name = identifier(&task.name);
    let (client, handle, begin, wait) = match is_blocking {
        true => ("Client", "SyncHandle", "", ""),
        false => ("AsyncClient", "Handle", "async ", "await "),
    };
    let target = quoted(&format!("{module}/{}", task.name));
    let head = format!("(client: {client}, options: Options | None = None, /{parameters})");
    // The kind stands at an assignment: not every type is a class, and what the client returns for others is `Any`.
    let arguments = format!("{target}, {made}, output={output}, **(options or Options())");
    let doc = document(&task.doc, "    ");
    format!(
        "\n\n\n{begin}def {name}{head} -> {output}:\n{doc}    \
         result: {output} = {wait}client.call({arguments})\n    return result\n\n\n\
         {begin}def submit_{name}{head} -> {handle}[{output}]:\n    \
         handle: {handle}[{output}] = {wait}client.submit({arguments})\n    return handle"
    )
}

fn whole(classes: &mut Classes, schema: &Value, hint: &str) -> String {
    classes.begin();
    classes.kind(schema, schema, &camel(hint), 0)
}

fn input(task: &TaskInfo, classes: &mut Classes) -> Input {
    let Some(schema) = &task.input_schema else {
        return Input::Value("bytes | Payload".to_owned());
    };
    classes.begin();
    if let Some(object) = schema
        .as_object()
        .filter(|schema| schema.contains_key("properties"))
    {
        let fields = classes.parameters(schema, object, &camel(&task.name), 0);
        let mut names: Vec<_> = fields.iter().map(|field| field.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        // Two fields whose names differ only in what an identifier cannot hold are passed as one value.
        if names.len() == fields.len() {
            return Input::Fields(fields);
        }
    }
    match whole(classes, schema, &format!("{}-input", task.name)).as_str() {
        "None" => Input::Nothing,
        kind => Input::Value(kind.to_owned()),
    }
}

/// The parameters behind client and options.
fn parameters(input: &Input) -> String {
    match input {
        Input::Nothing => String::new(),
        Input::Value(kind) => format!(", *, input: {kind}"),
        Input::Fields(fields) if fields.is_empty() => String::new(),
        Input::Fields(fields) => {
            let fields = fields.iter().map(|field| match field.is_required {
                true => format!(", {}: {}", field.name, field.kind),
                // What is left out is the task's to decide.
                false if field.kind == "Any" || field.kind.ends_with("None") => {
                    format!(", {}: {} = None", field.name, field.kind)
                }
                false => format!(", {}: {} | None = None", field.name, field.kind),
            });
            format!(", *{}", fields.collect::<String>())
        }
    }
}

/// The input as it is made of the parameters.
fn made(input: &Input) -> String {
    let object = |fields: &[Parameter], is_required: bool| {
        let fields = fields
            .iter()
            .filter(|field| field.is_required == is_required);
        let pairs: Vec<_> = fields
            .map(|field| format!("{}: {}", field.field, field.name))
            .collect();
        format!("{{{}}}", pairs.join(", "))
    };
    match input {
        Input::Nothing => "None".to_owned(),
        Input::Value(_) => "input".to_owned(),
        Input::Fields(fields) => {
            format!(
                "_input({}, {})",
                object(fields, true),
                object(fields, false)
            )
        }
    }
}

/// A text as documentation: whatever its author wrote stays inside the quotes.
fn document(text: &str, indent: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let safe: String = text
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect();
    let safe = safe.replace('\\', "\\\\").replace('"', "\\\"");
    let lines: Vec<_> = safe.lines().map(str::trim_end).collect();
    format!(
        "{indent}\"\"\"{}\"\"\"\n",
        lines.join(&format!("\n{indent}"))
    )
}
