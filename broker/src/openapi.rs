//! Schemas of what is written as text, or in another form than its fields: for the document of the HTTP API.
//! Everything else derives its schema where it is defined.

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat,
        schema::{SchemaType, Type},
    },
};

use crate::{
    Backoff, CatchUp, ClientId, Digest, HostId, InvocationId, LimitScope, ModuleRef, TaskFilter,
    TaskRef, When,
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
        .additional_properties(Some(
            utoipa::openapi::schema::AdditionalProperties::<Schema>::FreeForm(false),
        ))
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
schema!(
    CatchUp,
    text(
        "What becomes of times that passed while nobody could fire: `skip`, `one` (once for all of them, which is the default), or `all N`.",
        "^(skip|one|all ([1-9][0-9]?|100))$",
        "one",
    )
);
schema!(
    LimitScope,
    text(
        "What a limit is about: `queue:NAME`, `task:MODULE/TASK`, `key:KEY`, or `key:*` for each key without one of its own.",
        format!("^(queue:{NAME}|task:{NAME}/{NAME}|key:[!-~]{{1,128}})$"),
        "queue:images",
    )
);
schema!(
    TaskFilter,
    text(
        "Tasks: `images` for all of a module, `images/resize` for one, in any version; `images@1.2.0/resize` for exactly that.",
        format!("^({NAME}(@({NAME}|{DIGEST}))?|{DIGEST})(/{NAME})?$"),
        "images/resize",
    )
);
