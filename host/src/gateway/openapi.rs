//! The document of the API: OpenAPI 3.1, made from the handlers and the types that they take and give.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema as _,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        response::Response,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::problem::{CODES, Document, PROBLEM_JSON};

/// What stands in the document beside paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Celeriac",
        description = "Run tasks that are WebAssembly components: hand in invocations, await their results, upload modules.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Document)),
    modifiers(&Tokens),
    tags(
        (name = "invocations", description = "Hand in, follow, await, cancel"),
        (name = "modules", description = "What can be run"),
        (name = "schedules", description = "What is submitted again and again"),
        (name = "dead letters", description = "What has failed for good"),
        (name = "operations", description = "How it is going"),
    )
)]
pub(super) struct Head;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token from `celeriac token new`."))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// The problems that any request may be answered with.
pub(super) struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut titles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (code, status, title) in CODES {
            let titles = titles.entry(status.as_str().to_owned()).or_default();
            titles.push(format!("`{code}`: {title}"));
        }
        let response = |titles: Vec<String>| {
            let schema = Ref::from_schema_name(Document::name());
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new().description(titles.join("; "));
            RefOr::T(response.content(PROBLEM_JSON, content).build())
        };
        titles
            .into_iter()
            .map(|(status, titles)| (status, response(titles)))
            .collect()
    }
}

/// The document as it is served.
pub(super) fn document(openapi: &utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(openapi).unwrap_or_default();
    bound(&mut document);
    exclude_both_inputs(&mut document);
    leave_open(&mut document);
    for pointer in OPTIONAL_BODIES {
        if let Some(schema) = document.pointer_mut(pointer)
            && let Some(object) = schema.pointer("/oneOf/0").cloned()
        {
            *schema = object;
        }
    }
    if let Some(pattern) = document.pointer_mut("/components/schemas/Backoff/pattern") {
        *pattern = BACKOFF.into();
    }
    for pointer in ANY_JSON {
        if let Some(schema) = document.pointer_mut(pointer).and_then(Value::as_object_mut) {
            schema.remove("type");
        }
    }
    document
}

/// Bodies that may be left out, which derived schemas take for such that may be null.
const OPTIONAL_BODIES: &[&str] = &[
    "/paths/~1v1~1dead-letters~1{id}~1retry/post/requestBody/content/application~1json/schema",
    "/paths/~1v1~1schedules~1{name}~1run/post/requestBody/content/application~1json/schema",
];

/// A back-off as it is written, for authors' manifests as for callers.
const BACKOFF: &str = r"^([0-9.]+(d|h|m|s|ms))+(, ?([0-9.]+(d|h|m|s|ms))+)*$|^exponential\(([0-9.]+(d|h|m|s|ms))+, ?([0-9.]+(d|h|m|s|ms))+\)$";

/// What may be any JSON, which derived schemas take for an object.
const ANY_JSON: &[&str] = &[
    "/components/schemas/Submit/properties/input",
    "/components/schemas/Ended/properties/output",
    "/components/schemas/PutSchedule/properties/input",
    "/components/schemas/Schedule/properties/input",
    "/components/schemas/RetryLetter/properties/input",
    "/components/schemas/WholeLetter/allOf/1/properties/input",
];

/// Numbers in Rust have a largest value, which the document says too.
fn bound(part: &mut Value) {
    match part {
        Value::Object(members) => {
            bound_number(members);
            members.values_mut().for_each(bound);
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        _ => {}
    }
}

fn bound_number(schema: &mut Map<String, Value>) {
    let maximum = match schema.get("format").and_then(Value::as_str) {
        Some("int64") => json!(u64::MAX),
        Some("int32") => json!(u32::MAX),
        _ => return,
    };
    if schema.get("minimum").is_some_and(Value::is_u64) {
        schema.entry("maximum").or_insert(maximum);
    }
}

/// Bytes and streams have no schema.
fn leave_open(part: &mut Value) {
    match part {
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "*/*" | "text/event-stream" => *member = json!({}),
                    "application/octet-stream" => {
                        *member = json!({"schema": {"type": "string", "format": "binary"}});
                    }
                    _ => leave_open(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(leave_open),
        _ => {}
    }
}

/// What has an input: JSON or bytes, which derived schemas cannot say.
const WITH_INPUT: &[&str] = &["Submit", "PutSchedule", "RetryLetter"];

fn exclude_both_inputs(document: &mut Value) {
    for name in WITH_INPUT {
        let schema = document.pointer_mut(&format!("/components/schemas/{name}"));
        let Some(schema) = schema.and_then(Value::as_object_mut) else {
            continue;
        };
        schema.insert(
            "not".to_owned(),
            json!({"required": ["input", "input_base64"]}),
        );
        let needs = json!({"content_type": ["input_base64"]});
        schema.insert("dependentRequired".to_owned(), needs);
    }
}
