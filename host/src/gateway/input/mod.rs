//! Inputs checked against the JSON Schema of their task, before anything is stored.
//!
//! A schema comes with an upload and is hostile: it is used only when it is self-contained and small ([`cost`]),
//! its patterns run in linear time, and each evaluation is priced before it is done. What cannot be used is
//! skipped: the task decodes its input itself anyhow.

mod cost;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use celeriac_broker::{Broker, BrokerError, Digest, Manifest, ModuleRef, Payload, TaskRef};
use jsonschema::{Draft, PatternOptions, Validator, error::ValidationErrorKind};
use serde_json::Value;

use super::problem::{FieldError, Problem};

/// The largest input that is checked here: as a tree it takes ten times its bytes.
const MAX_INPUT_BYTES: usize = 1 << 20;
/// Errors that an answer names.
const MAX_ERRORS: usize = 16;
/// Characters of a message.
const MAX_MESSAGE: usize = 300;
/// What a compiled pattern may take.
const PATTERN_BYTES: usize = 256 << 10;
/// Modules whose schemas are kept.
const KEPT: usize = 128;
/// How long a name is believed to point to the same digest. Before an input is refused the name is read again.
const BELIEVED: Duration = Duration::from_secs(2);
/// Steps that are taken on the thread that serves other requests too; more go elsewhere.
const QUICK_STEPS: u64 = 2_000;

/// The schemas of a module's tasks; none where a task has none that can be used.
type Schemas = HashMap<String, Option<Arc<Schema>>>;

#[derive(Debug)]
struct Schema {
    document: Value,
    validator: Validator,
}

/// Compiled schemas, once for each module and task.
#[derive(Debug)]
pub(crate) struct Validators {
    broker: Arc<dyn Broker>,
    modules: Mutex<HashMap<Digest, Arc<Schemas>>>,
    names: Mutex<HashMap<ModuleRef, (Digest, Instant)>>,
}

impl Validators {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            modules: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// Refuses an input that does not fit its task. Modules and tasks that are not there are left to the broker to name.
    pub(crate) async fn check(&self, task: &TaskRef, input: &Payload) -> Result<(), Problem> {
        if !input.is_json() || input.data.len() > MAX_INPUT_BYTES {
            return Ok(());
        }
        let believed = self.believed(&task.module);
        let is_fresh = believed.is_none();
        let errors = self.errors(believed, task, input).await?;
        // The name may point to another module by now.
        let errors = match errors.is_empty() || is_fresh {
            true => errors,
            false => self.errors(None, task, input).await?,
        };
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Problem::fields(errors)),
        }
    }

    async fn errors(
        &self,
        digest: Option<Digest>,
        task: &TaskRef,
        input: &Payload,
    ) -> Result<Vec<FieldError>, Problem> {
        let Some(schemas) = self.schemas(digest, &task.module).await? else {
            return Ok(Vec::new());
        };
        let Some(Some(schema)) = schemas.get(&task.task).cloned() else {
            return Ok(Vec::new());
        };
        let input: Value = serde_json::from_slice(&input.data)
            .map_err(|error| Problem::field("", error.to_string()))?;
        match cost::steps(&schema.document, &input) {
            None => Ok(Vec::new()),
            Some(steps) if steps <= QUICK_STEPS => Ok(schema.errors(&input)),
            Some(_) => tokio::task::spawn_blocking(move || schema.errors(&input))
                .await
                .map_err(|_| Problem::new("internal", "the input could not be checked")),
        }
    }

    fn believed(&self, module: &ModuleRef) -> Option<Digest> {
        if let ModuleRef::Digest(_, digest) = module {
            return Some(*digest);
        }
        let names = lock(&self.names);
        let (digest, at) = names.get(module)?;
        (at.elapsed() < BELIEVED).then_some(*digest)
    }

    fn believe(&self, module: &ModuleRef, digest: Digest) {
        let mut names = lock(&self.names);
        if names.len() >= KEPT * 8 {
            names.clear();
        }
        names.insert(module.clone(), (digest, Instant::now()));
    }

    async fn schemas(
        &self,
        digest: Option<Digest>,
        module: &ModuleRef,
    ) -> Result<Option<Arc<Schemas>>, Problem> {
        let kept = digest.and_then(|digest| lock(&self.modules).get(&digest).cloned());
        if let Some(kept) = kept {
            return Ok(Some(kept));
        }
        let record = match self.broker.module(module).await {
            Ok(record) => record,
            Err(BrokerError::NoModule(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        self.believe(module, record.digest);
        if let Some(kept) = lock(&self.modules).get(&record.digest).cloned() {
            return Ok(Some(kept));
        }
        let compiled = tokio::task::spawn_blocking(move || compile(&record.manifest)).await;
        let schemas = Arc::new(compiled.unwrap_or_default());
        let mut modules = lock(&self.modules);
        if modules.len() >= KEPT {
            modules.clear();
        }
        modules.insert(record.digest, schemas.clone());
        Ok(Some(schemas))
    }
}

fn compile(manifest: &str) -> Schemas {
    let Ok(manifest) = serde_json::from_str::<Manifest>(manifest) else {
        return Schemas::new();
    };
    let compiled = manifest.tasks.into_iter().map(|task| {
        let schema = task.input_schema.and_then(Schema::new).map(Arc::new);
        (task.name, schema)
    });
    compiled.collect()
}

impl Schema {
    /// None when it cannot be used.
    fn new(document: Value) -> Option<Self> {
        let draft = match document.get("$schema").and_then(Value::as_str) {
            Some(schema) if schema.contains("draft-07") => Draft::Draft7,
            _ => Draft::Draft202012,
        };
        cost::is_small(&document).then_some(())?;
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_draft(draft)
            .with_pattern_options(patterns)
            .build(&document)
            .ok()?;
        Some(Self {
            document,
            validator,
        })
    }

    fn errors(&self, input: &Value) -> Vec<FieldError> {
        let errors = self.validator.iter_errors(input).take(MAX_ERRORS);
        let field = |error: jsonschema::ValidationError<'_>| FieldError {
            pointer: pointer(&error),
            // Without the value: it may be long, or a secret.
            message: error
                .masked()
                .to_string()
                .chars()
                .take(MAX_MESSAGE)
                .collect(),
        };
        errors.map(field).collect()
    }
}

/// The field itself: for one that is missing or not wanted, where it would be.
fn pointer(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path.to_string();
    let name = match &error.kind {
        ValidationErrorKind::Required { property } => property.as_str(),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            unexpected.first().map(String::as_str)
        }
        _ => None,
    };
    match name {
        Some(name) => format!("{place}/{}", name.replace('~', "~0").replace('/', "~1")),
        None => place,
    }
}

/// A lock whose holder panicked still guards whole data here: every critical section is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(schema: Value, input: &Value) -> Vec<FieldError> {
        Schema::new(schema).unwrap().errors(input)
    }

    #[test]
    fn each_wrong_field_is_named_by_its_pointer() {
        let schema = json!({
            "type": "object",
            "required": ["width"],
            "properties": {"width": {"type": "integer"}, "tags": {"items": {"type": "string"}}},
            "additionalProperties": false,
        });
        let found = errors(schema, &json!({"tags": ["a", 1], "x/y": "secret"}));
        let mut pointers: Vec<_> = found.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, ["/tags/1", "/width", "/x~1y"]);
        assert!(found.iter().all(|error| !error.message.contains("secret")));
    }

    #[test]
    fn what_is_not_self_contained_or_not_linear_is_not_used() {
        for schema in [
            json!({"$ref": "http://127.0.0.1:1/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$id": "http://127.0.0.1:1/", "type": "object"}),
            json!({"type": "string", "pattern": "(?=a)b"}),
            json!({"type": "string", "pattern": "(((a{100}){100}){100}){100}"}),
            json!({"type": "nonsense"}),
        ] {
            assert!(Schema::new(schema.clone()).is_none(), "{schema}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_elsewhere_is_linear_here() {
        let started = Instant::now();
        let schema = json!({"type": "string", "pattern": "^(a+)+$"});
        let input = Value::String("a".repeat(50_000) + "!");
        assert_eq!(errors(schema, &input).len(), 1);
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_schema_that_refers_to_itself_works_for_trees() {
        let schema = json!({
            "$ref": "#/$defs/tree",
            "$defs": {"tree": {
                "type": "object",
                "properties": {
                    "left": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]},
                    "size": {"type": "integer"},
                },
            }},
        });
        let input = json!({"left": {"left": {"size": 1}, "size": "x"}});
        assert!(cost::steps(&schema, &input).is_some());
        assert_eq!(errors(schema.clone(), &input).len(), 1);
        assert!(errors(schema, &json!({"left": {"left": null}})).is_empty());
    }
}
