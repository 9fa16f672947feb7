//! What a module says about itself, checked: its tasks, their schemas and their defaults.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::{engine, policy};
use celeriac_broker::{Backoff, Finding, Need, Priority, TaskInfo, TaskOptions, UploadReport};

/// Tasks of one module: more would be several modules.
const TASKS: usize = 256;
/// Bytes of a task's name: it is part of addresses and keys.
const NAME_BYTES: usize = 64;
/// Bytes of a task's documentation.
const DOC_BYTES: usize = 64 << 10;
/// Bytes of a schema.
const SCHEMA_BYTES: usize = 256 << 10;
/// Things that a task may ask for.
const NEEDS: usize = 64;

/// Checks what `describe` returned.
pub(crate) fn tasks(described: Vec<engine::TaskInfo>) -> Result<Vec<TaskInfo>, UploadReport> {
    let mut findings = Vec::new();
    if described.is_empty() || described.len() > TASKS {
        let what = format!(
            "the module describes {} tasks; 1 to {TASKS} are allowed",
            described.len()
        );
        return Err(Finding::new("`describe`", what, "mark functions with `#[task]`").into());
    }
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(described.len());
    for info in described {
        if !seen.insert(info.name.clone()) {
            let what = "two tasks have this name";
            findings.push(Finding::new(place(&info.name), what, "rename one of them"));
        }
        match entry(info) {
            Ok(entry) => entries.push(entry),
            Err(finding) => findings.push(*finding),
        }
    }
    if findings.is_empty() {
        Ok(entries)
    } else {
        Err(UploadReport { findings })
    }
}

fn place(name: &str) -> String {
    format!(
        "task `{}`",
        name.chars()
            .take(NAME_BYTES)
            .collect::<String>()
            .escape_debug()
    )
}

fn entry(info: engine::TaskInfo) -> Result<TaskInfo, Box<Finding>> {
    let at = place(&info.name);
    let refuse = |what: String, remedy: &str| Err(Box::new(Finding::new(at.clone(), what, remedy)));
    if !is_name(&info.name) {
        let remedy = "name it with a-z, 0-9, `-` and `_`, a letter or digit first, 64 at most";
        return refuse("the name is not valid".to_owned(), remedy);
    }
    if info.doc.len() > DOC_BYTES {
        return refuse(
            format!(
                "the text has {} bytes, {DOC_BYTES} are allowed",
                info.doc.len()
            ),
            "shorten it",
        );
    }
    if info.needs.len() > NEEDS {
        return refuse(
            format!("{} needs, {NEEDS} are allowed", info.needs.len()),
            "ask for less",
        );
    }
    Ok(TaskInfo {
        input_schema: schema(&at, "input", &info.input_schema)?,
        output_schema: schema(&at, "output", &info.output_schema)?,
        options: defaults(&at, info.options, info.invocations)?,
        needs: needs(&at, info.needs)?,
        name: info.name,
        doc: info.doc,
    })
}

/// Needs that mean something: what nobody could grant is found now, and not at the first call.
fn needs(at: &str, needs: Vec<engine::Need>) -> Result<Vec<Need>, Box<Finding>> {
    let need = |need: engine::Need| {
        policy::Need::parse(&need.kind, &need.name)
            .map_err(|error| Finding::new(at, error.message, error.remedy))?;
        Ok(Need {
            kind: need.kind,
            name: need.name,
        })
    };
    needs.into_iter().map(need).collect()
}

fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= NAME_BYTES
        && name.starts_with(is_plain)
        && name.chars().all(|c| is_plain(c) || c == '-' || c == '_')
}

fn schema(at: &str, which: &str, text: &str) -> Result<Option<Value>, Box<Finding>> {
    let refuse = |what: String| {
        let remedy =
            "leave it empty for raw bytes, else give a JSON Schema (an object, `true` or `false`)";
        Box::new(Finding::new(at, what, remedy))
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() > SCHEMA_BYTES {
        return Err(refuse(format!(
            "the {which} schema has {} bytes, {SCHEMA_BYTES} are allowed",
            text.len()
        )));
    }
    match serde_json::from_str(text) {
        Ok(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(Some(schema)),
        Ok(_) => Err(refuse(format!(
            "the {which} schema is JSON, but not a schema"
        ))),
        Err(error) => Err(refuse(format!("the {which} schema is not JSON: {error}"))),
    }
}

fn defaults(
    at: &str,
    options: engine::TaskOptions,
    invocations: engine::InvocationOptions,
) -> Result<TaskOptions, Box<Finding>> {
    let timeout_ms = span(at, "timeout", options.timeout)?;
    let priority = invocations.priority.map(|text| text.parse::<Priority>());
    let priority = priority.transpose().map_err(|error| {
        Finding::new(
            at,
            error.to_string(),
            "write it so in `#[task(priority = …)]`",
        )
    })?;
    let fuel = number(at, "fuel", options.fuel)?;
    let memory_bytes = number(at, "memory", options.memory)?;
    let backoff = options.backoff.map(|text| text.parse::<Backoff>());
    let backoff = backoff.transpose().map_err(|error| {
        Finding::new(
            at,
            error.to_string(),
            "write it so in `#[task(backoff = …)]`",
        )
    })?;
    if let Some(queue) = options.queue.as_deref().filter(|queue| !is_name(queue)) {
        let what = format!("`{}` is not the name of a queue", place(queue));
        return Err(Box::new(Finding::new(
            at,
            what,
            "name it with a-z, 0-9, `-` and `_`",
        )));
    }
    Ok(TaskOptions {
        queue: options.queue,
        priority,
        expires_ms: span(at, "expires", invocations.expires)?,
        deadline_ms: span(at, "deadline", invocations.deadline)?,
        result_ttl_ms: span(at, "result_ttl", invocations.result_ttl)?,
        retries: options.retries,
        backoff,
        retry_on: options.retry_on,
        timeout_ms,
        fuel,
        memory_bytes,
        limits: limits(at, &options.limits)?,
    })
}

/// Limits by name: those that this host knows.
fn limits(at: &str, asked: &[engine::Limit]) -> Result<BTreeMap<String, u64>, Box<Finding>> {
    let mut known = engine::LimitOptions::default();
    let mut limits = BTreeMap::new();
    for limit in asked {
        let Some(value) = number(at, &limit.name, Some(limit.value))? else {
            continue;
        };
        known
            .set(&limit.name, value)
            .map_err(|error| Finding::new(at, error.to_string(), "take one of these"))?;
        limits.insert(limit.name.clone(), value);
    }
    Ok(limits)
}

/// Seconds, as whole milliseconds; ten years at most, as for callers.
fn span(at: &str, option: &str, seconds: Option<f64>) -> Result<Option<u64>, Box<Finding>> {
    const TEN_YEARS_MS: u64 = 10 * 365 * 86_400_000;
    let ms = number(at, option, seconds.map(|seconds| (seconds * 1000.0).ceil()))?;
    match ms {
        Some(ms) if ms > TEN_YEARS_MS => {
            let what = format!("the option `{option}` is {ms} ms");
            Err(Box::new(Finding::new(at, what, "give at most ten years")))
        }
        ms => Ok(ms),
    }
}

/// A default that travels as `f64`: finite, positive, and exact as an integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was checked: 2^53 at most"
)]
fn number(at: &str, option: &str, value: Option<f64>) -> Result<Option<u64>, Box<Finding>> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        None => Ok(None),
        Some(value) if (1.0..=EXACT).contains(&value) => Ok(Some(value as u64)),
        Some(value) => {
            let what = format!("the option `{option}` is {value}");
            Err(Box::new(Finding::new(
                at,
                what,
                "give a positive number, or leave it out",
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> engine::TaskInfo {
        let options = engine::TaskOptions {
            queue: None,
            retries: None,
            backoff: None,
            retry_on: Vec::new(),
            timeout: None,
            fuel: None,
            memory: None,
            limits: Vec::new(),
        };
        engine::TaskInfo {
            name: name.to_owned(),
            doc: String::new(),
            input_schema: "true".to_owned(),
            output_schema: String::new(),
            options,
            needs: Vec::new(),
            invocations: engine::InvocationOptions {
                priority: None,
                expires: None,
                deadline: None,
                result_ttl: None,
            },
        }
    }

    #[test]
    fn takes_what_is_said_about_invocations_and_refuses_what_no_broker_takes() {
        let mut task = info("meek");
        task.invocations.priority = Some("low".to_owned());
        task.invocations.expires = Some(0.5);
        task.invocations.deadline = Some(3600.0);
        task.invocations.result_ttl = Some(60.0);
        let options = tasks(vec![task.clone()]).unwrap().remove(0).options;
        assert_eq!(options.priority, Some(Priority::Low));
        let times = (
            options.expires_ms,
            options.deadline_ms,
            options.result_ttl_ms,
        );
        assert_eq!(times, (Some(500), Some(3_600_000), Some(60_000)));

        task.invocations.priority = Some("urgent".to_owned());
        let report = tasks(vec![task.clone()]).unwrap_err();
        assert!(report.findings[0].message.contains("urgent"), "{report:?}");
        task.invocations.priority = None;
        for seconds in [f64::NAN, -1.0, 0.0, 1e10] {
            task.invocations.expires = Some(seconds);
            let report = tasks(vec![task.clone()]).unwrap_err();
            assert!(
                report.findings[0].message.contains("`expires`"),
                "{report:?}"
            );
        }
    }

    #[test]
    fn takes_sound_descriptions() {
        let mut task = info("resize_2-x");
        task.options.timeout = Some(1.5);
        task.options.memory = Some(64.0 * 1024.0);
        let entries = tasks(vec![task]).unwrap();
        assert_eq!(entries[0].input_schema, Some(Value::Bool(true)));
        assert_eq!(entries[0].output_schema, None);
        assert_eq!(entries[0].options.timeout_ms, Some(1500));
    }

    #[test]
    fn names_every_task_that_is_wrong() {
        let mut schema = info("schema");
        schema.input_schema = "{".to_owned();
        let mut fuel = info("fuel");
        fuel.options.fuel = Some(f64::NAN);
        let report = tasks(vec![
            info("Upper"),
            info("twice"),
            info("twice"),
            schema,
            fuel,
            info(""),
        ])
        .unwrap_err();
        let places: Vec<_> = report
            .findings
            .iter()
            .map(|finding| finding.place.as_str())
            .collect();
        assert_eq!(
            places,
            [
                "task `Upper`",
                "task `twice`",
                "task `schema`",
                "task `fuel`",
                "task ``"
            ]
        );
    }

    #[test]
    fn refuses_needs_that_mean_nothing() {
        for (kind, name) in [
            ("https", "example.com"),
            ("http", "example.com/path"),
            ("directory", ".."),
        ] {
            let mut task = info("dispatch");
            task.needs.push(engine::Need {
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
            let report = tasks(vec![task]).unwrap_err();
            let [finding] = &report.findings[..] else {
                panic!("{report}")
            };
            assert_eq!(finding.place, "task `dispatch`");
            assert!(!finding.remedy.is_empty(), "{kind} {name}");
        }
    }

    #[test]
    fn refuses_a_module_without_tasks() {
        assert!(tasks(Vec::new()).is_err());
    }
}
