//! What a module may consist of: each bound at its value and one past it, before the validator sees the module.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::{Duration, Instant};

use celeriac::module::{UploadCaps, check};
use support::{fixture, sample};

/// A component with five of one thing.
fn with_five(name: &str) -> Vec<u8> {
    let five = |text: &str| {
        (0..5)
            .map(|n| text.replace('N', &n.to_string()))
            .collect::<String>()
    };
    let module = |fields: &str| format!("(core module {fields})");
    let text = match name {
        // One function in a core module is lifted, which makes another.
        "functions" => format!(
            "{} (core instance $i (instantiate 0)) (func (canon lift (core func $i \"f\")))",
            module("(func (export \"f\")) (func) (func) (func)")
        ),
        "types" => format!(
            "{} (type (func)) (type (instance (type (func))))",
            module("(type (func)) (type (func (param i32)))")
        ),
        "type_bytes" => module("(type (func (param i32)))"),
        "imports" => format!(
            "{} (import \"a\" (func)) (import \"b\" (func))",
            module(
                "(import \"m\" \"a\" (func)) (import \"m\" \"b\" (func)) (import \"m\" \"c\" (func))"
            )
        ),
        "exports" => format!(
            "{} (core module $e) (export \"e\" (core module $e))",
            module(&format!("(func $f) {}", five("(export \"fN\" (func $f))")))
        ),
        "data" => module("(memory 1) (data (i32.const 0) \"123\") (data (i32.const 9) \"45\")"),
        "nesting" => "(component (component (component (component (core module)))))".to_owned(),
        "modules" => {
            "(core module) (core module) (core module) (component (core module))".to_owned()
        }
        "instances" => format!(
            "(core module $m) (component $c) (instance (instantiate $c)) {}",
            "(core instance (instantiate $m))".repeat(4)
        ),
        other => panic!("no component with five {other}"),
    };
    wat::parse_str(format!("(component {text})")).unwrap()
}

fn report(bytes: &[u8], caps: &UploadCaps) -> String {
    match check(bytes, caps) {
        Ok(()) => String::new(),
        Err(report) => report.to_string(),
    }
}

fn with(name: &str, value: u64) -> UploadCaps {
    let mut caps = UploadCaps::default();
    let field = match name {
        "module" => &mut caps.module,
        "functions" => &mut caps.functions,
        "types" => &mut caps.types,
        "type_bytes" => &mut caps.type_bytes,
        "imports" => &mut caps.imports,
        "exports" => &mut caps.exports,
        "data" => &mut caps.data,
        "nesting" => &mut caps.nesting,
        "modules" => &mut caps.modules,
        "instances" => &mut caps.instances,
        other => panic!("no test for the cap {other}"),
    };
    *field = value;
    caps
}

#[test]
fn each_cap_lets_what_fits_pass_and_refuses_one_more() {
    for cap in UploadCaps::all() {
        let name = cap.name;
        let (bytes, count) = match name {
            "module" => {
                let bytes = fixture("", "");
                let count = bytes.len() as u64;
                (bytes, count)
            }
            // The module of five exports is exported itself.
            "exports" => (with_five(name), 6),
            name => (with_five(name), 5),
        };
        let fits = report(&bytes, &with(name, count));
        assert!(!fits.contains("are allowed"), "{name} at {count}: {fits}");
        let over = report(&bytes, &with(name, count - 1));
        let counted = format!("{count} ");
        let allowed = format!("{} are allowed", count - 1);
        for words in [
            counted.as_str(),
            allowed.as_str(),
            &cap.setting(),
            cap.remedy,
        ] {
            assert!(
                over.contains(words),
                "{name}: `{words}` is missing in: {over}"
            );
        }
        let place = if name == "module" {
            "the whole file"
        } else {
            "offset 0x"
        };
        assert!(over.contains(place), "{name}: {over}");
    }
}

#[test]
fn every_sample_fits_with_room() {
    let tenth = UploadCaps {
        functions: 10_000,
        types: 2_000,
        imports: 5_000,
        exports: 5_000,
        data: 3 << 20,
        nesting: 3,
        modules: 20,
        instances: 100,
        ..UploadCaps::default()
    };
    for name in ["basics", "compute", "data", "images", "text"] {
        assert_eq!(report(&sample(name), &tenth), "", "{name}");
    }
}

/// A component of one type that nests `depth` instance types in one another.
fn nested_types(depth: usize) -> Vec<u8> {
    let mut section = vec![1];
    for _ in 1..depth {
        section.extend([0x42, 1, 1]);
    }
    section.extend([0x42, 0]);
    let mut bytes = b"\0asm\x0d\0\x01\0\x07".to_vec();
    let mut length = section.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(section);
    bytes
}

#[test]
fn types_that_nest_without_end_never_reach_the_reader() {
    let fits = report(&nested_types(200), &UploadCaps::default());
    assert!(
        fits.contains("`run` is missing") && !fits.contains("are allowed"),
        "{fits}"
    );
    for depth in [201, 5_000_000] {
        let started = Instant::now();
        let over = report(&nested_types(depth), &UploadCaps::default());
        let words = format!("nest up to {depth} deep here, 200 are allowed");
        assert!(over.contains(&words), "{over}");
        assert!(started.elapsed() < Duration::from_secs(10), "{depth}");
    }
}
