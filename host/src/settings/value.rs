//! One setting's value: what kinds there are, how each is read and written.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use super::units;

/// The port of DNS (RFC 1035).
const DNS_PORT: u16 = 53;

/// What a setting holds, with its bounds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The address of a broker.
    Url,
    /// A directory.
    Directory,
    /// Names of queues.
    Names,
    /// A whole number within bounds.
    Count(u64, u64),
    /// A length of time within bounds.
    Duration(Duration, Duration),
    /// A size in bytes, with the least.
    Size(u64),
    /// Fuel, at least 1.
    Fuel,
    /// The address of a DNS server, or `system`.
    DnsServer,
    /// An address with a port to listen on, or `off`.
    Listen,
    /// A file, or `none`.
    File,
    /// Where pages come from that may call, or `none`.
    Origins,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An address or a word.
    Text(String),
    /// A directory.
    Directory(PathBuf),
    /// Names.
    Names(Vec<String>),
    /// A number.
    Count(u64),
    /// A length of time.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// Fuel.
    Fuel(u64),
}

impl Kind {
    /// What a value of this kind looks like, for messages and the documentation.
    pub fn expected(self) -> String {
        match self {
            Self::Url => {
                "`redis://HOST[:PORT][/DB]`, `rediss://…` or `embedded:DIRECTORY`".to_owned()
            }
            Self::Directory => "a directory".to_owned(),
            Self::Names => {
                "a list of queue names: lower-case letters, digits, `.`, `_`, `-`; with weights `urgent:5, default:1`".to_owned()
            }
            Self::Count(min, max) => format!("a whole number from {min} to {max}"),
            Self::Duration(min, max) => format!(
                "{}, from {} to {}",
                units::DURATION_FORM,
                units::show_duration(min),
                units::show_duration(max)
            ),
            Self::Size(min) => format!("{}, at least {}", units::SIZE_FORM, units::show_size(min)),
            Self::Fuel => units::FUEL_FORM.to_owned(),
            Self::DnsServer => {
                "`system`, or the address of a server: `10.0.0.2` or `10.0.0.2:53`".to_owned()
            }
            Self::Listen => "`off`, or an address with a port such as `127.0.0.1:7373`".to_owned(),
            Self::File => "a file, or `none`".to_owned(),
            Self::Origins => {
                "`none`, or a list of origins such as `https://app.example`".to_owned()
            }
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                words.join(" or ")
            }
        }
    }

    /// Reads a value from text, as in the environment or a flag; none when it is not of this kind.
    pub(super) fn read(self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Url => url(text)?,
            Self::Directory if text.is_empty() => return None,
            Self::Directory => Value::Directory(text.into()),
            Self::Names => names(text.split(',').map(str::trim))?,
            Self::Count(..) => Value::Count(text.trim().parse().ok()?),
            Self::Duration(..) => Value::Duration(units::parse_duration(text).ok()?),
            Self::Size(_) => Value::Size(units::parse_size(text).ok()?),
            Self::Fuel => Value::Fuel(units::parse_fuel(text).ok()?),
            Self::DnsServer => dns_server(text)?,
            Self::Listen => listen(text)?,
            Self::File if text.is_empty() => return None,
            Self::File if text == "none" => Value::Text(text.to_owned()),
            Self::File => Value::Directory(text.into()),
            Self::Origins if text == "none" => Value::Names(Vec::new()),
            Self::Origins => origins(text.split(',').map(str::trim))?,
            Self::OneOf(words) => {
                Value::Text((*words.iter().find(|word| **word == text)?).to_owned())
            }
        };
        self.bounds(&value).then_some(value)
    }

    /// Reads a value from a settings file.
    pub(super) fn read_toml(self, value: &toml::Value) -> Option<Value> {
        let number = |value: &i64| u64::try_from(*value).ok();
        let value = match (self, value) {
            (Self::Names, toml::Value::Array(items)) => {
                let items: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                names(items?.into_iter())?
            }
            (Self::Origins, toml::Value::Array(items)) => {
                let items: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
                origins(items?.into_iter())?
            }
            (Self::Names | Self::Count(..), toml::Value::String(_)) => return None,
            (_, toml::Value::String(text)) => return self.read(text),
            (Self::Count(..), toml::Value::Integer(count)) => Value::Count(number(count)?),
            (Self::Size(_), toml::Value::Integer(bytes)) => Value::Size(number(bytes)?),
            (Self::Fuel, toml::Value::Integer(fuel)) => Value::Fuel(number(fuel)?),
            _ => return None,
        };
        self.bounds(&value).then_some(value)
    }

    fn bounds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Count(min, max), Value::Count(count)) => (min..=max).contains(count),
            (Self::Duration(min, max), Value::Duration(duration)) => (min..=max).contains(duration),
            (Self::Size(min), Value::Size(bytes)) => *bytes >= min,
            (Self::Fuel, Value::Fuel(fuel)) => *fuel > 0,
            _ => true,
        }
    }
}

fn url(text: &str) -> Option<Value> {
    let (scheme, rest) = text.split_once(':')?;
    let known = match scheme {
        "redis" | "rediss" => rest.strip_prefix("//").is_some_and(|host| !host.is_empty()),
        "embedded" => !rest.is_empty(),
        _ => false,
    };
    known.then(|| Value::Text(text.to_owned()))
}

/// `system`, or an address with its port.
fn dns_server(text: &str) -> Option<Value> {
    if text == "system" {
        return Some(Value::Text(text.to_owned()));
    }
    let address = text.parse::<SocketAddr>().ok();
    let address = address.or_else(|| Some(SocketAddr::new(text.parse().ok()?, DNS_PORT)))?;
    Some(Value::Text(address.to_string()))
}

/// `off`, or an address with its port.
fn listen(text: &str) -> Option<Value> {
    let is_address = || text.parse::<SocketAddr>().is_ok();
    (text == "off" || is_address()).then(|| Value::Text(text.to_owned()))
}

/// Schemes with hosts, as browsers send them.
fn origins<'a>(items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let items: Vec<String> = items.map(str::to_owned).collect();
    let is_origin = |origin: &String| {
        let rest = origin
            .strip_prefix("https://")
            .or(origin.strip_prefix("http://"));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain))
    };
    items.iter().all(is_origin).then_some(Value::Names(items))
}

fn names<'a>(items: impl Iterator<Item = &'a str>) -> Option<Value> {
    let items: Vec<String> = items.map(str::to_owned).collect();
    let fit = items
        .iter()
        .all(|name| name.parse::<celeriac_broker::Served>().is_ok());
    (fit && !items.is_empty()).then_some(Value::Names(items))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Directory(path) => path.display().fmt(f),
            Self::Names(names) if names.is_empty() => f.write_str("none"),
            Self::Names(names) => f.write_str(&names.join(",")),
            Self::Count(count) => count.fmt(f),
            Self::Duration(duration) => f.write_str(&units::show_duration(*duration)),
            Self::Size(bytes) => f.write_str(&units::show_size(*bytes)),
            Self::Fuel(fuel) => f.write_str(&units::show_fuel(*fuel)),
        }
    }
}

impl Value {
    /// The value as a settings file has it.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Names(names) => {
                let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
                format!("[{}]", names.join(", "))
            }
            Self::Count(count) => count.to_string(),
            other => quoted(&other.to_string()),
        }
    }

    /// The value for programs: numbers as numbers, lists as lists, all else as it is written in a file.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Names(names) => names.clone().into(),
            Self::Count(count) => (*count).into(),
            other => other.to_string().into(),
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
