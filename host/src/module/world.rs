//! Whether a component is of our world: exactly our exports, and no imports but those that hosts have.

use wasmparser::types::Types;
use wasmparser::{ComponentTypeRef, Parser, Payload, TypeBounds};

use super::signature;
use crate::engine::{ALLOWED_IMPORTS, CONTRACT_VERSION, WASI_SERIES};
use celeriac_broker::{Finding, UploadReport};

/// The exports of the contract and their types, as `signature` writes them. A test holds them against a
/// component that was built from the contract.
pub(crate) const EXPORTS: [(&str, &str); 2] = [
    (
        "describe",
        "func() -> list<record { name: string, doc: string, input-schema: string, output-schema: string, options: \
         record { queue: option<string>, retries: option<u32>, backoff: option<string>, \
         retry-on: list<string>, timeout: option<f64>, fuel: option<f64>, memory: \
         option<f64>, limits: list<record { name: string, value: f64 }> }, needs: list<record { kind: string, name: string }>, \
         invocations: record { priority: option<string>, expires: option<f64>, deadline: option<f64>, result-ttl: option<f64> } }>",
    ),
    (
        "run",
        "func(task: string, input: variant { json: string, bytes: record { content-type: string, data: list<u8> } }) \
         -> result<variant { json: string, bytes: record { content-type: string, data: list<u8> } }, record { kind: \
         string, message: string, retryable: bool, retry-after: option<f64>, details: option<string>, trace: \
         option<string> }>",
    ),
];

const SDK: &str =
    "use the crate celeriac-guest, or bindings made from the contract `celeriac:task@1.0.0`";

/// The names at the top of a component.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

/// Reads the names of a component that was found valid.
pub(crate) fn names(bytes: &[u8]) -> Names {
    let mut names = Names::default();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                let imports = section
                    .into_iter()
                    .flatten()
                    .filter(|import| !is_type_name(import.ty));
                names
                    .imports
                    .extend(imports.map(|import| import.name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                names.exports.extend(
                    section
                        .into_iter()
                        .flatten()
                        .map(|export| export.name.name.to_owned()),
                );
            }
            _ => {}
        }
    }
    names
}

/// A world that uses types of an interface imports their names besides: equations, which ask for nothing.
fn is_type_name(import: ComponentTypeRef) -> bool {
    matches!(import, ComponentTypeRef::Type(TypeBounds::Eq(_)))
}

/// What a person reads of a report: a component can be wrong in a million places.
const FINDINGS: usize = 32;
/// What is repeated of a name: an import's may have a hundred thousand bytes.
const NAME_BYTES: usize = 128;

/// Everything that is missing or too much, as far as it is worth telling.
pub(crate) fn check(bytes: &[u8], types: &Types) -> UploadReport {
    let names = names(bytes);
    let exports = EXPORTS
        .iter()
        .filter_map(|(name, expected)| export(name, expected, &names.exports, types));
    let imports = names.imports.iter().filter_map(|name| import(name));
    let surplus = names.exports.iter().filter_map(|name| surplus(name, types));
    let mut findings: Vec<_> = imports
        .take(FINDINGS)
        .chain(exports)
        .chain(surplus.take(FINDINGS))
        .collect();
    if findings.len() > FINDINGS {
        findings.truncate(FINDINGS);
        findings.push(Finding::new(
            "the whole file",
            format!("there is more like this: the first {FINDINGS} are told"),
            SDK,
        ));
    }
    UploadReport { findings }
}

/// The beginning of a name.
fn short(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES))
        .unwrap_or_default()
}

/// What is wrong with an import.
fn import(name: &str) -> Option<Finding> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let at = format!("import `{}`", short(name));
    if !ALLOWED_IMPORTS.contains(&interface) {
        let (what, remedy) = foreign(interface);
        return Some(Finding::new(at, what, remedy));
    }
    let is_ours = interface.starts_with("celeriac:");
    let numbers: Vec<u64> = version
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect();
    let is_served = match (is_ours, numbers.as_slice()) {
        (true, [major, _, _]) => *major == CONTRACT_VERSION.0,
        (false, [major, minor, _]) => (*major, *minor) == WASI_SERIES,
        _ => false,
    };
    let served = if is_ours {
        format!("{}.x", CONTRACT_VERSION.0)
    } else {
        format!("{}.{}.x", WASI_SERIES.0, WASI_SERIES.1)
    };
    (!is_served).then(|| {
        let version = short(version);
        let what =
            format!("version `{version}` of this interface is not served; hosts have {served}");
        Finding::new(
            at,
            what,
            format!("build against {served}, or upgrade the hosts"),
        )
    })
}

/// Why an interface is not there, and what to do without it.
fn foreign(interface: &str) -> (String, String) {
    let package = interface.split('/').next().unwrap_or(interface);
    match package {
        "wasi:http" => (
            "tasks send HTTP requests, and do not serve any".to_owned(),
            "import `wasi:http/types` and `wasi:http/outgoing-handler` alone".to_owned(),
        ),
        _ => (
            "hosts do not have this interface".to_owned(),
            format!("hosts have {}", ALLOWED_IMPORTS.join(", ")),
        ),
    }
}

/// What is wrong with an export that has to be there.
fn export(name: &str, expected: &str, found: &[String], types: &Types) -> Option<Finding> {
    let Some(item) = types.component_item_for_export(name) else {
        let list = if found.is_empty() {
            "nothing".to_owned()
        } else {
            short(&found.join(", ")).to_owned()
        };
        let what = format!("the export `{name}` is missing; the component exports {list}");
        return Some(Finding::new(format!("export `{name}`"), what, SDK));
    };
    let actual =
        signature::of_function(types, &item.ty).unwrap_or_else(|| "not a function".to_owned());
    (actual != expected).then(|| {
        let what =
            format!("`{name}` has the wrong type: it is `{actual}`, the contract has `{expected}`");
        Finding::new(format!("export `{name}`"), what, SDK)
    })
}

/// What is wrong with an export that nobody asked for.
fn surplus(name: &str, types: &Types) -> Option<Finding> {
    if EXPORTS.iter().any(|(expected, _)| *expected == name) {
        return None;
    }
    if types
        .component_item_for_export(name)
        .is_some_and(|item| signature::is_type(&item.ty))
    {
        return None;
    }
    let remedy = if name.starts_with("wasi:cli/run") {
        "this is a command: make the crate a library with `crate-type = [\"cdylib\"]` and no `main`"
    } else {
        "export `describe` and `run` alone; other work of the module goes behind `run`"
    };
    Some(Finding::new(
        format!("export `{}`", short(name)),
        "this export is not part of the contract",
        remedy,
    ))
}
