//! What a task declares that it needs, checked: the words of `#[task(needs(…))]`.

use std::fmt;

use crate::engine::{Denied, HostPattern, TaskPattern};

/// The kinds of needs.
pub(super) const KINDS: [&str; 8] = [
    "http",
    "tcp",
    "directory",
    "scratch",
    "secret",
    "config",
    "kv",
    "tasks",
];

/// The longest need: a host with its scheme and port.
const MAX_BYTES: usize = 300;

/// What a pattern of tasks looks like.
pub(super) const TASKS: &str = "write `MODULE/TASK`, `MODULE/*` or `*`, without a version";

/// Something outside the sandbox that a task asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// HTTP requests.
    Http(HttpNeed),
    /// TCP connections.
    Tcp(TcpNeed),
    /// A directory by name.
    Directory(String),
    /// An empty directory for the time of the run; the word says what for.
    Scratch(String),
    /// A secret by name.
    Secret(String),
    /// A configuration value by name.
    Config(String),
    /// The module's key-value store; the word says what for.
    KeyValues(String),
    /// Other tasks: `images/resize`, `images/*` or `*`.
    Tasks(TaskPattern),
}

/// Where HTTP requests are to go: `example.com`, `*.example.com`, `*`, `https://example.com:8443`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpNeed {
    /// `http` or `https`; none: either.
    pub scheme: Option<String>,
    /// The hosts.
    pub host: HostPattern,
    /// The port; none: whichever is granted.
    pub port: Option<u16>,
}

/// Where TCP connections are to go: `example.com:587`, `*:587`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpNeed {
    /// The hosts.
    pub host: HostPattern,
    /// The port; none: any.
    pub port: Option<u16>,
}

/// A need that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidNeed {
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub remedy: String,
}

fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> InvalidNeed {
    InvalidNeed {
        message: message.into(),
        remedy: remedy.into(),
    }
}

impl Need {
    /// Reads a need as a module declares it.
    ///
    /// # Errors
    /// When there is no such kind, or the name means nothing for it.
    pub fn parse(kind: &str, name: &str) -> Result<Self, InvalidNeed> {
        if name.len() > MAX_BYTES {
            let message = format!("a need has {} bytes, {MAX_BYTES} are allowed", name.len());
            return Err(invalid(message, "shorten it"));
        }
        let named = |check: fn(&str) -> bool, remedy: &str| match check(name) {
            true => Ok(name.to_owned()),
            false => Err(invalid(
                format!("{} is not the name of a {kind}", shown(name)),
                remedy,
            )),
        };
        let word = || {
            named(
                |text| !text.chars().any(char::is_control),
                "write a word about what it is for",
            )
        };
        Ok(match kind {
            "http" => Self::Http(HttpNeed::parse(name)?),
            "tcp" => Self::Tcp(TcpNeed::parse(name)?),
            "directory" => Self::Directory(named(is_directory_name, DIRECTORY_NAME)?),
            "secret" => Self::Secret(named(is_name, NAME)?),
            "config" => Self::Config(named(is_variable, VARIABLE)?),
            "scratch" => Self::Scratch(word()?),
            "kv" => Self::KeyValues(word()?),
            "tasks" => Self::Tasks(
                TaskPattern::parse(name)
                    .ok_or_else(|| invalid(format!("{} means no task", shown(name)), TASKS))?,
            ),
            _ => {
                let message = format!("there is no need of the kind {}", shown(kind));
                return Err(invalid(
                    message,
                    format!("a task can need {}", KINDS.join(", ")),
                ));
            }
        })
    }

    /// `http`, `tcp`, `directory`, `scratch`, `secret`, `config`, `kv` or `tasks`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Directory(_) => "directory",
            Self::Scratch(_) => "scratch",
            Self::Secret(_) => "secret",
            Self::Config(_) => "config",
            Self::KeyValues(_) => "kv",
            Self::Tasks(_) => "tasks",
        }
    }

    /// What exactly, as it is written in `#[task(needs(…))]`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Http(need) => need.to_string(),
            Self::Tcp(need) => need.to_string(),
            Self::Tasks(pattern) => pattern.to_string(),
            Self::Directory(name)
            | Self::Scratch(name)
            | Self::Secret(name)
            | Self::Config(name)
            | Self::KeyValues(name) => name.clone(),
        }
    }

    /// What a guest would have had to declare for something that it was refused.
    pub(super) fn of(denied: &Denied) -> Option<Self> {
        let what = match denied.kind {
            // `GET https://example.com:443`: any method may be needed.
            "http" => denied.what.rsplit(' ').next().unwrap_or_default(),
            "tasks" => return Some(Self::Tasks(called(&denied.what))),
            _ => denied.what.as_str(),
        };
        match Self::parse(denied.kind, what).ok()? {
            Self::Http(need) => Some(Self::Http(need.without_default_port())),
            other => Some(other),
        }
    }

    /// Whether declaring this declares `wanted` too.
    pub(super) fn covers(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Http(declared), Self::Http(wanted)) => declared.covers(wanted),
            (Self::Tcp(declared), Self::Tcp(wanted)) => {
                includes(&declared.host, &wanted.host)
                    && declared.port.is_none_or(|port| wanted.port == Some(port))
            }
            (Self::Tasks(declared), Self::Tasks(wanted)) => declared.includes(wanted),
            (Self::Scratch(_), Self::Scratch(_)) | (Self::KeyValues(_), Self::KeyValues(_)) => true,
            (declared, wanted) => declared == wanted,
        }
    }
}

/// What means a task that was called, whichever version; `*` where only that does.
fn called(task: &str) -> TaskPattern {
    let (module, name) = task.split_once('/').unwrap_or((task, ""));
    let module = module.split_once('@').map_or(module, |(module, version)| {
        if version.starts_with("sha256:") {
            ""
        } else {
            module
        }
    });
    TaskPattern::parse(&format!("{module}/{name}")).unwrap_or_else(TaskPattern::any)
}

impl HttpNeed {
    fn parse(text: &str) -> Result<Self, InvalidNeed> {
        const REMEDY: &str = "write a host (`example.com`, `*.example.com`, `*`), with scheme and port where \
                              they matter (`https://example.com:8443`), and no path";
        let wrong = || {
            invalid(
                format!("{} is not where HTTP requests can go", shown(text)),
                REMEDY,
            )
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme.to_owned()), rest),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        let (host, port) = split_port(rest).ok_or_else(wrong)?;
        Ok(Self {
            scheme,
            host: host.parse().map_err(|_| wrong())?,
            port,
        })
    }

    fn without_default_port(mut self) -> Self {
        if self.port.is_some() && self.port == self.scheme.as_deref().and_then(default_port) {
            self.port = None;
        }
        self
    }

    fn covers(&self, wanted: &Self) -> bool {
        let port = |need: &Self| {
            need.port
                .or_else(|| need.scheme.as_deref().and_then(default_port))
        };
        includes(&self.host, &wanted.host)
            && self
                .scheme
                .as_ref()
                .is_none_or(|scheme| wanted.scheme.as_ref() == Some(scheme))
            && self.port.is_none_or(|own| port(wanted) == Some(own))
    }
}

impl TcpNeed {
    fn parse(text: &str) -> Result<Self, InvalidNeed> {
        const REMEDY: &str = "write `HOST:PORT`, such as `smtp.example.com:587` or `*:587`, or `*`";
        let wrong = || {
            invalid(
                format!("{} is not where TCP connections can go", shown(text)),
                REMEDY,
            )
        };
        let (host, port) = split_port(text).ok_or_else(wrong)?;
        if port.is_none() && host != "*" {
            return Err(wrong());
        }
        Ok(Self {
            host: host.parse().map_err(|_| wrong())?,
            port,
        })
    }
}

/// The port that belongs to a scheme.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether every host of `narrow` is one of `wide`.
pub(super) fn includes(wide: &HostPattern, narrow: &HostPattern) -> bool {
    super::intersect::hosts(wide, narrow).as_ref() == Some(narrow)
}

/// A host and its port, `[…]` around an IPv6 address with a port; none when the port is no port.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let is_bare_v6 = !text.starts_with('[') && text.matches(':').count() > 1;
    let (host, port) = match text
        .rfind(':')
        .filter(|at| !is_bare_v6 && text.get(*at..).is_some_and(|rest| !rest.contains(']')))
    {
        Some(at) => (text.get(..at)?, Some(text.get(at + 1..)?)),
        None => (text, None),
    };
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match port {
        None => Some((host, None)),
        Some(port) if is_port(port) => {
            Some((host, Some(port.parse().ok().filter(|port| *port > 0)?)))
        }
        Some(_) => None,
    }
}

pub(super) const NAME: &str =
    "use up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first";
pub(super) const DIRECTORY_NAME: &str = "use up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first; `tmp` is the scratch directory";
pub(super) const VARIABLE: &str =
    "use up to 64 letters, digits and `_`, as for an environment variable";

/// The name of a secret.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The name of a directory: the guest finds it at `/NAME`, and `/tmp` is taken.
pub(super) fn is_directory_name(name: &str) -> bool {
    is_name(name) && name != "tmp"
}

/// The name of a configuration value: it becomes an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn shown(text: &str) -> String {
    format!(
        "`{}`",
        text.chars().take(80).collect::<String>().escape_debug()
    )
}

/// A host before a port: an IPv6 address in brackets.
pub(super) fn bracketed(host: &HostPattern) -> String {
    match host.to_string() {
        address if address.contains(':') => format!("[{address}]"),
        name => name,
    }
}

impl fmt::Display for HttpNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        f.write_str(&bracketed(&self.host))?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for TcpNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host))?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_kind_and_writes_it_back() {
        for (kind, name) in [
            ("http", "example.com"),
            ("http", "*.example.com"),
            ("http", "*"),
            ("http", "https://example.com:8443"),
            ("http", "http://[::1]:8080"),
            ("tcp", "smtp.example.com:587"),
            ("tcp", "*:587"),
            ("tcp", "*"),
            ("tcp", "[::1]:25"),
            ("directory", "photos"),
            ("scratch", "thumbnails"),
            ("scratch", ""),
            ("secret", "smtp-password"),
            ("config", "GREETING"),
            ("kv", "counters"),
        ] {
            let need = Need::parse(kind, name).unwrap();
            assert_eq!((need.kind(), need.name().as_str()), (kind, name));
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        for (kind, name) in [
            ("https", "example.com"),
            ("", ""),
            ("http", ""),
            ("http", "https://"),
            ("http", "ftp://x"),
            ("http", "example.com/path"),
            ("http", "example.com:0"),
            ("http", "example.com:65536"),
            ("http", "user@example.com"),
            ("http", "a b"),
            ("tcp", "example.com"),
            ("tcp", "example.com:"),
            ("tcp", "example.com:+5"),
            ("tcp", "*:*"),
            ("directory", "tmp"),
            ("directory", ".."),
            ("directory", "a/b"),
            ("directory", ""),
            ("secret", ""),
            ("secret", "a b"),
            ("config", "1A"),
            ("config", "A-B"),
            ("kv", "a\nb"),
        ] {
            assert!(Need::parse(kind, name).is_err(), "{kind} {name}");
        }
        assert!(Need::parse("kv", &"x".repeat(MAX_BYTES + 1)).is_err());
    }

    #[test]
    fn tells_what_was_declared_from_what_was_not() {
        let denied = |kind, what: &str| {
            Need::of(&Denied {
                kind,
                what: what.to_owned(),
                why: None,
            })
            .unwrap()
        };
        let need = |kind, name| Need::parse(kind, name).unwrap();
        let get = denied("http", "GET https://api.example.com:443");
        assert_eq!(get.name(), "https://api.example.com");
        for (declared, is_declared) in [
            ("*", true),
            ("*.example.com", true),
            ("https://api.example.com:443", true),
            ("api.example.com", true),
            ("http://api.example.com", false),
            ("api.example.com:8443", false),
            ("example.com", false),
        ] {
            assert_eq!(
                need("http", declared).covers(&get),
                is_declared,
                "{declared}"
            );
        }
        assert!(need("tcp", "*:25").covers(&denied("tcp", "mx.example.com:25")));
        assert!(!need("tcp", "*:25").covers(&denied("tcp", "mx.example.com:26")));
        assert!(need("kv", "counters").covers(&denied("kv", "x")));
    }
}
