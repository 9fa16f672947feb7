//! What a module may consist of, counted before anything else looks at it.
//!
//! The size in bytes does not bound what a validator or a compiler does with them: some work grows with the square
//! of a count, some with the depth of nesting. Counting reads headers only, and takes a millisecond a MiB.

use std::ops::Range;

use celeriac_broker::Finding;
use wasmparser::{
    ComponentType, ComponentTypeDeclaration, InstanceTypeDeclaration, Parser, Payload,
};

/// How deep component and instance types may nest in one another. The reader of wasmparser calls itself for each
/// level and knows no bound, so that some kilobytes of nesting would use up its stack: it must never see them.
const NESTED_TYPES: usize = 200;

/// A bound on what a module may consist of, as the documentation and the settings show it.
#[derive(Clone, Copy, Debug)]
pub struct UploadCap {
    /// Its field of [`UploadCaps`].
    pub name: &'static str,
    /// Whether it is counted in bytes.
    pub is_bytes: bool,
    /// What it is when the operator does not say.
    pub default: u64,
    /// What it bounds, and why by that much.
    pub doc: &'static str,
    /// What the author can do about it.
    pub remedy: &'static str,
}

impl UploadCap {
    /// The operator's setting.
    #[must_use]
    pub fn setting(&self) -> String {
        format!("caps.{}", self.name)
    }
}

macro_rules! caps {
    ($($(#[doc = $doc:literal])* $name:ident: $is_bytes:literal = $default:expr, $remedy:literal;)*) => {
        /// What a module may consist of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct UploadCaps { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Default for UploadCaps {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        impl UploadCaps {
            /// Every bound, in the order of the documentation.
            #[must_use]
            pub fn all() -> Vec<UploadCap> {
                vec![$(UploadCap {
                    name: stringify!($name),
                    is_bytes: $is_bytes,
                    default: $default,
                    doc: concat!($($doc,)*).trim_ascii(),
                    remedy: $remedy,
                },)*]
            }

            /// The bounds that settings have, by key.
            pub(crate) fn from_settings(value: impl Fn(&str) -> u64) -> Self {
                Self { $($name: value(concat!("caps.", stringify!($name))),)* }
            }

            /// The bound `name`.
            fn get(&self, name: &str) -> u64 {
                match name {
                    $(stringify!($name) => self.$name,)*
                    _ => 0,
                }
            }
        }
    };
}

caps! {
    /// The largest module that can be uploaded: a Rust one has less than a megabyte, a Python one some 20.
    module: true = 32 << 20,
        "strip it (`strip = true` in the release profile), leave assets out and pass them as input";
    /// Functions of a module, over all core modules in it: Rust has hundreds to thousands, Python more than 10,000.
    functions: false = 100_000, "use fewer or smaller libraries, or split it in several modules";
    /// Types of a module, over all that is in it: Rust has some hundred, Python some thousand.
    types: false = 20_000, "make the interfaces smaller, or split it in several modules";
    /// Bytes of all sections of types. A validator remembers every name in them, in some hundred bytes for two: a
    /// megabyte of names is as much as it should have to. A Python component has some ten thousand bytes.
    type_bytes: true = 1 << 20, "make the interfaces smaller, or split it in several modules";
    /// Imports of a module, over all that is in it: a library of a Python component has thousands of symbols.
    imports: false = 50_000, "link statically, use fewer libraries, or split it in several modules";
    /// Exports of a module, over all that is in it.
    exports: false = 50_000, "link statically, use fewer libraries, or split it in several modules";
    /// Bytes of all data segments: assets, tables, an interpreter's library.
    data: true = 32 << 20, "leave assets out and pass them as input";
    /// How deep components and core modules nest in one another: toolchains nest two or three deep.
    nesting: false = 10, "compose fewer components into one another";
    /// Core modules and components in a module: a Python component has up to 38.
    modules: false = 200, "link statically, or split it in several modules";
    /// Instances that a module makes of what is in it, or puts together from exports.
    instances: false = 1_000, "link statically, or split it in several modules";
}

/// Counts, and refuses at the first that goes beyond its bound. What cannot be read is left to the validator,
/// which stops at the same place and says why.
pub(super) fn count(bytes: &[u8], caps: &UploadCaps) -> Result<(), Finding> {
    let mut counter = Counter::new(*caps);
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        counter.take(bytes, &payload)?;
    }
    Ok(())
}

/// What was counted so far.
struct Counter {
    caps: UploadCaps,
    seen: UploadCaps,
}

impl Counter {
    fn new(caps: UploadCaps) -> Self {
        let seen = UploadCaps::from_settings(|_| 0);
        Self { caps, seen }
    }

    fn take(&mut self, bytes: &[u8], payload: &Payload<'_>) -> Result<(), Finding> {
        let mut add = |name, more: u64, range: &Range<usize>| self.add(name, more, range.start);
        match payload {
            Payload::FunctionSection(s) => add("functions", s.count().into(), &s.range()),
            Payload::ComponentCanonicalSection(s) => add("functions", s.count().into(), &s.range()),
            // Of types the bytes come first: to count them is to read them.
            Payload::TypeSection(s) => {
                add("type_bytes", s.range().len() as u64, &s.range())?;
                let types = s.clone().into_iter().map_while(Result::ok);
                let count = types.map(|group| group.types().len() as u64).sum();
                add("types", count, &s.range())
            }
            Payload::CoreTypeSection(s) => {
                add("type_bytes", s.range().len() as u64, &s.range())?;
                add("types", s.count().into(), &s.range())
            }
            Payload::ComponentTypeSection(s) => {
                nesting_of_types(bytes, &s.range())?;
                add("type_bytes", s.range().len() as u64, &s.range())?;
                let types = s.clone().into_iter().map_while(Result::ok);
                add("types", types.map(|ty| declared(&ty)).sum(), &s.range())
            }
            Payload::ImportSection(s) => add("imports", s.count().into(), &s.range()),
            Payload::ComponentImportSection(s) => add("imports", s.count().into(), &s.range()),
            Payload::ExportSection(s) => add("exports", s.count().into(), &s.range()),
            Payload::ComponentExportSection(s) => add("exports", s.count().into(), &s.range()),
            Payload::DataSection(s) => {
                let data = s.clone().into_iter().map_while(Result::ok);
                let count = data.map(|segment| segment.data.len() as u64).sum();
                add("data", count, &s.range())
            }
            Payload::InstanceSection(s) => add("instances", s.count().into(), &s.range()),
            Payload::ComponentInstanceSection(s) => add("instances", s.count().into(), &s.range()),
            Payload::ModuleSection {
                unchecked_range, ..
            }
            | Payload::ComponentSection {
                unchecked_range, ..
            } => {
                add("nesting", 1, unchecked_range)?;
                add("modules", 1, unchecked_range)
            }
            Payload::End(_) => {
                self.seen.nesting = self.seen.nesting.saturating_sub(1);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, name: &'static str, more: u64, offset: usize) -> Result<(), Finding> {
        let seen = self.seen.get(name).saturating_add(more);
        match name {
            "functions" => self.seen.functions = seen,
            "types" => self.seen.types = seen,
            "type_bytes" => self.seen.type_bytes = seen,
            "imports" => self.seen.imports = seen,
            "exports" => self.seen.exports = seen,
            "data" => self.seen.data = seen,
            "nesting" => self.seen.nesting = seen,
            "modules" => self.seen.modules = seen,
            _ => self.seen.instances = seen,
        }
        match seen <= self.caps.get(name) {
            true => Ok(()),
            false => Err(too_many(name, seen, self.caps.get(name), offset)),
        }
    }
}

/// The report of a module that has too much of something.
pub(super) fn too_many(name: &str, seen: u64, allowed: u64, offset: usize) -> Finding {
    let what = match name {
        "module" => format!("the module has {seen} bytes, {allowed} are allowed"),
        "data" => format!("the data segments have {seen} bytes up to here, {allowed} are allowed"),
        "type_bytes" => format!("the types have {seen} bytes up to here, {allowed} are allowed"),
        "nesting" => format!("components nest {seen} deep here, {allowed} are allowed"),
        "modules" => {
            format!(
                "there are {seen} core modules and components up to here, {allowed} are allowed"
            )
        }
        name => format!("there are {seen} {name} up to here, {allowed} are allowed"),
    };
    let remedy = UploadCaps::all()
        .into_iter()
        .find(|cap| cap.name == name)
        .map_or_else(String::new, |cap| {
            format!(
                "{}, or have the operator raise `{}`",
                cap.remedy,
                cap.setting()
            )
        });
    let place = match name {
        "module" => "the whole file".to_owned(),
        _ => format!("offset {offset:#x}"),
    };
    Finding::new(place, what, remedy)
}

/// Refuses types that nest too deep, by their bytes. Each level but the first is a declaration of a type (1) that
/// is a component type or an instance type (0x41, 0x42), so that there are no more levels than such pairs.
fn nesting_of_types(bytes: &[u8], range: &Range<usize>) -> Result<(), Finding> {
    let section = bytes.get(range.clone()).unwrap_or_default();
    let levels = section
        .windows(2)
        .filter(|pair| matches!(pair, [1, 0x41 | 0x42]))
        .count();
    if levels <= NESTED_TYPES {
        return Ok(());
    }
    Err(Finding::new(
        format!("offset {:#x}", range.start),
        format!(
            "types of components and instances nest up to {levels} deep here, {NESTED_TYPES} are allowed"
        ),
        "make the interfaces flatter; no toolchain nests types more than a few deep",
    ))
}

/// A type, and those that are declared in it.
fn declared(ty: &ComponentType<'_>) -> u64 {
    let inner: u64 = match ty {
        ComponentType::Component(declarations) => declarations
            .iter()
            .map(|declaration| match declaration {
                ComponentTypeDeclaration::Type(ty) => declared(ty),
                _ => 1,
            })
            .sum(),
        ComponentType::Instance(declarations) => declarations
            .iter()
            .map(|declaration| match declaration {
                InstanceTypeDeclaration::Type(ty) => declared(ty),
                _ => 1,
            })
            .sum(),
        _ => 0,
    };
    1 + inner
}
