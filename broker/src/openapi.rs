//! Schemas of what is written as text, or in another form than its fields: for the document of the HTTP API.
//! Everything else derives its schema where it is defined.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat,
        schema::{AdditionalProperties, SchemaType, Type},
    },
};

use crate::{
    After, Attempt, Backoff, Callback, ClientId, Digest, HostId, InvocationId, ModuleRef, OnUnmet,
    Options, OutcomeHead, Progress, State, Status, TaskRef, When,
    callback::Target,
    when::{MAX_AT_MS, MAX_IN_MS},
};

/// What `check_name` takes.
const NAME: &str = "[a-z0-9][a-z0-9._-]{0,63}";

const DIGEST: &str = "sha256:[0-9a-f]{64}";

fn text(description: &str, pattern: impl Into<String>, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some(description))
        .pattern(Some(pattern))
        .examples([example])
        .into()
}

/// One named number, as an externally tagged variant is written.
fn named(name: &str, description: &str, maximum: u64) -> Schema {
    let number = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .description(Some(description))
        .minimum(Some(0_usize))
        .maximum(Some(maximum));
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .property(name, number)
        .required(name)
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
        .into()
}

macro_rules! schema {
    ($type:ty, $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }
        impl ToSchema for $type {}
    };
}

schema!(
    InvocationId,
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .format(Some(SchemaFormat::Custom("uuid".to_owned())))
        .description(Some("An invocation: a UUIDv7 that this store issued."))
        .into()
);
schema!(
    TaskRef,
    text(
        "A task: `images/resize`, `images@1.2.0/resize` or `images@sha256:…/resize`.",
        format!("^({NAME}(@({NAME}|{DIGEST}))?|{DIGEST})/{NAME}$"),
        "images/resize",
    )
);
schema!(
    ModuleRef,
    text(
        "A module: `images`, `images@1.2.0` or `sha256:…`.",
        format!("^({NAME}(@({NAME}|{DIGEST}))?|{DIGEST})$"),
        "images",
    )
);
schema!(
    Digest,
    text(
        "The SHA-256 of a module's bytes.",
        format!("^{DIGEST}$"),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )
);
schema!(
    HostId,
    text(
        "A host process: random at each start.",
        "^.+$",
        "machine-3f1c9a2b7d4e"
    )
);
schema!(
    ClientId,
    text(
        "A stream of replies.",
        "^[0-9a-f]{32}$",
        "8c1fd1c2a9b94f0e8d3a5b6c7d8e9f00"
    )
);
schema!(
    Backoff,
    text(
        "How long to wait before each retry: `5s`, `1s, 10s, 1m` or `exponential(1s, 60s)`.",
        r"^(([1-9][0-9]{0,2}(ms|s|m), ){0,9}[1-9][0-9]{0,2}(ms|s|m)|exponential\([1-9][0-9]?s, [1-9][0-9]?m\))$",
        "exponential(1s, 60s)",
    )
);
schema!(
    When,
    OneOfBuilder::new()
        .description(Some("A moment, by the broker's clock."))
        .item(named(
            "in_ms",
            "Milliseconds after the invocation is accepted.",
            MAX_IN_MS
        ))
        .item(named(
            "at_ms",
            "Milliseconds since the Unix epoch.",
            MAX_AT_MS
        ))
        .into()
);
schema!(
    Target,
    text(
        "A task that is run, or a server that is told: `images/notify`, `https://shop.example/done`.",
        format!("^({NAME}(@({NAME}|{DIGEST}))?|{DIGEST})/{NAME}$|^https?://[!-~]{{1,2000}}$"),
        "images/notify",
    )
);

/// A number from 0 on, of 64 bits.
fn count() -> RefOr<Schema> {
    number("int64")
}

fn number(format: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .minimum(Some(0_usize))
        .into()
}

fn word() -> RefOr<Schema> {
    Object::with_type(SchemaType::Type(Type::String)).into()
}

fn flag() -> RefOr<Schema> {
    Object::with_type(SchemaType::Type(Type::Boolean)).into()
}

fn list(items: RefOr<Schema>) -> RefOr<Schema> {
    ArrayBuilder::new().items(items).into()
}

/// An object with these fields; whether it may have others is the caller's to say.
fn object(description: &str, fields: Vec<(&str, RefOr<Schema>)>) -> ObjectBuilder {
    fields.into_iter().fold(
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .description(Some(description)),
        |object, (name, schema)| object.property(name, schema),
    )
}

/// The options that callers set. Written out, as they are the one type that every feature adds to; a test compares the
/// words with those that are read.
fn options() -> RefOr<Schema> {
    let fields = vec![
        ("queue", word()),
        ("timeout_ms", count()),
        ("fuel", count()),
        ("memory_bytes", count()),
        ("retries", number("int32")),
        ("backoff", Backoff::schema()),
        ("retry_on", list(word())),
        ("start", When::schema()),
        ("expires", When::schema()),
        ("deadline", When::schema()),
        ("after", list(After::schema())),
        ("on_unmet", OnUnmet::schema()),
        ("callbacks", list(Callback::schema())),
        ("result_ttl_ms", count()),
        (
            "limits",
            ObjectBuilder::new()
                .schema_type(SchemaType::Type(Type::Object))
                .additional_properties(Some(count()))
                .into(),
        ),
    ];
    object(
        "What a caller may set for one invocation. Limits can lower what the operator allows, never raise it.",
        fields,
    )
    .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
    .into()
}

schema!(Options, options());

/// What is always said of an invocation, and what is said where it applies.
fn status() -> RefOr<Schema> {
    let fields = vec![
        ("id", InvocationId::schema()),
        ("task", TaskRef::schema()),
        ("module", Digest::schema()),
        ("queue", word()),
        ("state", State::schema()),
        ("submitted_at_ms", count()),
        ("due_at_ms", count()),
        ("expires_at_ms", count()),
        ("deadline_at_ms", count()),
        ("attempts", count()),
        ("crashes", count()),
        ("host", HostId::schema()),
        ("trail", list(Attempt::schema())),
        ("is_cancel_requested", flag()),
        ("progress", Progress::schema()),
        ("outcome", OutcomeHead::schema()),
    ];
    let always = [
        "id",
        "task",
        "queue",
        "state",
        "submitted_at_ms",
        "attempts",
        "crashes",
        "is_cancel_requested",
    ];
    let object = object("Where an invocation stands.", fields);
    always
        .into_iter()
        .fold(object, |object, name| object.required(name))
        .into()
}

schema!(Status, status());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_is_read_is_in_the_schema() {
        let unknown = serde_json::from_str::<Options>(r#"{"?":0}"#);
        let message = unknown.unwrap_err().to_string();
        // "unknown field `?`, expected one of `queue`, `timeout_ms`, …"
        let mut read: Vec<_> = message.split('`').skip(3).step_by(2).collect();
        let schema = serde_json::to_value(Options::schema()).unwrap();
        let mut shown: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        read.sort_unstable();
        shown.sort_unstable();
        assert_eq!(read, shown);
    }
}
