//! What to write so that something is allowed: the exact lines, and where.

use std::fmt;
use std::net::IpAddr;

use super::{Identity, Need, Policy};
use crate::engine::Denied;

/// The settings file when none was found.
const USUAL_FILE: &str = "celeriac.toml";

/// Lines to write into the settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Where: `at the end of FILE`, `to [grants."images"] in FILE`, `to http of [grants."images"] in FILE`.
    pub place: String,
    /// What: TOML that is valid there.
    pub lines: String,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "add {}:\n{}", self.place, self.lines)
    }
}

/// One key of a grant with what it would hold.
struct Entry {
    key: &'static str,
    /// Items of a list, entries of a table, or the one value of a flag.
    items: Vec<String>,
    form: Form,
}

enum Form {
    List,
    Table,
    Flag,
}

impl Entry {
    fn of(need: &Need, networks: &[String]) -> Self {
        let entry = |key, form, item| Self {
            key,
            form,
            items: vec![item],
        };
        let string = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let private = match networks {
            [] => String::new(),
            networks => format!(
                ", networks = [{}]",
                networks
                    .iter()
                    .map(|text| string(text))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        match need {
            Need::Http(need) => {
                let scheme = match need.scheme.as_deref() {
                    Some("http") => ", schemes = [\"http\"]",
                    _ => "",
                };
                let port = need
                    .port
                    .map_or(String::new(), |port| format!(", ports = [{port}]"));
                let host = string(&need.host.to_string());
                entry(
                    "http",
                    Form::List,
                    format!("{{ hosts = [{host}]{scheme}{port}{private} }}"),
                )
            }
            Need::Tcp(need) => {
                let port = need.port.map_or("PORT".to_owned(), |port| port.to_string());
                let host = need.host.to_string();
                entry(
                    "tcp",
                    Form::List,
                    match private.is_empty() {
                        true => string(&format!("{}:{port}", super::need::bracketed(&need.host))),
                        false => format!("{{ host = {}, port = {port}{private} }}", string(&host)),
                    },
                )
            }
            Need::Directory(name) => {
                let path = string(&format!("/srv/{name}"));
                entry(
                    "directories",
                    Form::Table,
                    format!("{} = {{ path = {path}, access = \"read\" }}", key(name)),
                )
            }
            Need::Secret(name) => {
                let file = string(&format!("/run/secrets/{name}"));
                entry(
                    "secrets",
                    Form::Table,
                    format!("{} = {{ file = {file} }}", key(name)),
                )
            }
            Need::Config(name) => {
                entry("config", Form::Table, format!("{} = \"VALUE\"", key(name)))
            }
            Need::Scratch(_) => entry("scratch", Form::Flag, "true".to_owned()),
            Need::KeyValues(_) => entry("kv", Form::Flag, "true".to_owned()),
            Need::Tasks(tasks) => entry("tasks", Form::List, string(&tasks.to_string())),
        }
    }

    fn line(&self) -> String {
        let (key, items) = (self.key, self.items.join(", "));
        match self.form {
            Form::List => format!("{key} = [{items}]"),
            Form::Table => format!("{key} = {{ {items} }}"),
            Form::Flag => format!("{key} = {items}"),
        }
    }
}

/// A key of TOML: names with dots need quotes.
fn key(name: &str) -> String {
    match name.contains('.') {
        true => toml::Value::String(name.to_owned()).to_string(),
        false => name.to_owned(),
    }
}

impl Policy {
    /// What to write so that a module gets all of these needs.
    #[must_use]
    pub fn advice(&self, module: &Identity, needs: &[Need]) -> Vec<Advice> {
        let mut entries: Vec<Entry> = Vec::new();
        for need in needs {
            let new = Entry::of(need, &[]);
            match entries.iter_mut().find(|entry| entry.key == new.key) {
                // Two tasks may need the same, and two scratch directories are one.
                Some(entry) => entry.items.extend(
                    new.items
                        .into_iter()
                        .filter(|_| !matches!(new.form, Form::Flag)),
                ),
                None => entries.push(new),
            }
        }
        for entry in &mut entries {
            let mut seen = std::collections::HashSet::new();
            entry.items.retain(|item| seen.insert(item.clone()));
        }
        self.advise(module, &entries)
    }

    fn advise(&self, module: &Identity, entries: &[Entry]) -> Vec<Advice> {
        let file = self
            .file
            .as_ref()
            .map_or(USUAL_FILE.to_owned(), |file| file.display().to_string());
        let pattern = module.pattern();
        let table = format!("[grants.\"{pattern}\"]");
        let own = self
            .grants
            .iter()
            .find(|grant| grant.pattern.to_string() == pattern);
        // A key can stand in a table once, and a table in a file: what is there already is added to.
        let (there, new): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| own.is_some_and(|grant| grant.has(entry.key)));
        let mut advice: Vec<_> = there
            .iter()
            .map(|entry| Advice {
                place: format!("to `{}` of {table} in {file}", entry.key),
                lines: entry.items.join(", "),
            })
            .collect();
        if !new.is_empty() {
            let lines: Vec<_> = new.iter().map(|entry| entry.line()).collect();
            let lines = lines.join("\n");
            advice.push(match own {
                Some(_) => Advice {
                    place: format!("to {table} in {file}"),
                    lines,
                },
                None => Advice {
                    place: format!("at the end of {file}"),
                    lines: format!("{table}\n{lines}"),
                },
            });
        }
        advice
    }

    /// What to write so that something that was refused is allowed, by the author or by the operator.
    pub(super) fn remedy(
        &self,
        module: &Identity,
        needs: &[Need],
        denied: &Denied,
    ) -> Option<String> {
        let wanted = Need::of(denied)?;
        let entry = Entry::of(&wanted, &refused_networks(denied));
        let grant = self.advise(module, &[entry]).pop()?;
        if needs.iter().any(|need| need.covers(&wanted)) {
            return Some(format!("to allow it, {grant}"));
        }
        let declaration = format!("#[task(needs({} = {:?}))]", wanted.kind(), wanted.name());
        let lacks_grant = self
            .resolve(module, std::slice::from_ref(&wanted))
            .answers
            .iter()
            .all(|answer| answer.granted_by.is_empty());
        Some(match lacks_grant {
            true => format!(
                "the task does not declare it: write `{declaration}`, push the module, and {grant}"
            ),
            false => {
                format!("the task does not declare it: write `{declaration}` and push the module")
            }
        })
    }
}

/// The address that stood in the way, as a network to grant.
fn refused_networks(denied: &Denied) -> Vec<String> {
    let why = denied.why.as_deref().unwrap_or_default();
    let words = why.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
    let address = words
        .filter(|word| word.contains(['.', ':']))
        .find_map(|word| word.trim_end_matches(['.', ':']).parse::<IpAddr>().ok());
    address
        .map(|address| ipnet::IpNet::from(address).to_string())
        .into_iter()
        .collect()
}
