//! Why a task did not succeed.

use std::{error::Error, fmt, panic::Location, time::Duration};

use crate::host;

/// Why a task did not succeed: what a task returns in `Err`, and what its caller gets to see.
///
/// Every error type converts into it, so `?` just works. Such a failure may be retried, if the
/// invocation has retries left; a failure that the task words itself with [`Failure::new`] is final
/// unless it says [`retryable`](Failure::retryable).
///
/// ```
/// use celeriac_guest::{Failure, task};
///
/// /// Divides two whole numbers written as text.
/// #[task]
/// fn divide(input: (String, String)) -> Result<i64, Failure> {
///     let (a, b): (i64, i64) = (input.0.parse()?, input.1.parse()?);
///     a.checked_div(b).ok_or_else(|| Failure::new("division-by-zero", format!("{a} / {b}")))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Failure {
    /// A short stable word for programs, such as `not-found`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// Whether running the same input again may succeed.
    pub is_retryable: bool,
    /// How long to wait before a retry, where the task knows better than the retry policy.
    pub retry_after: Option<Duration>,
    /// Whatever else a caller can use. Boxed, as is the trace: a `Result` is as large as its error.
    pub details: Option<Box<serde_json::Value>>,
    /// Where the failure arose, innermost first, one place a line.
    pub trace: Option<Box<str>>,
}

impl Failure {
    /// A failure that running the same input again will not cure.
    #[track_caller]
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        let trace = Some(trace_from(Location::caller()));
        Self {
            trace,
            ..Self::untraced(kind, message)
        }
    }

    /// A failure that arose outside the task's code: where in this crate helps nobody.
    pub(crate) fn untraced(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            is_retryable: false,
            retry_after: None,
            details: None,
            trace: None,
        }
    }

    /// A failure of kind `permanent`: for the case that no program needs to tell apart.
    #[track_caller]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new("permanent", message)
    }

    /// A failure from a boxed error, such as an `anyhow::Error` or a `Box<dyn Error>`, which `?`
    /// cannot convert: `work().map_err(Failure::from_boxed)?`.
    #[track_caller]
    pub fn from_boxed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new("error", with_sources(&*error.into())).retryable()
    }

    /// Says that running the same input again may succeed.
    #[must_use]
    pub fn retryable(self) -> Self {
        Self {
            is_retryable: true,
            ..self
        }
    }

    /// Says that running the same input again may succeed, but not before `delay` has passed.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self {
            is_retryable: true,
            retry_after: Some(delay),
            ..self
        }
    }

    /// Adds what a program can use.
    #[must_use]
    pub fn details(self, details: serde_json::Value) -> Self {
        Self {
            details: Some(Box::new(details)),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

/// The kind comes from the error's type (`ParseIntError` is `parse-int-error`, `std::io::Error` is
/// `io`), the message from the error and its sources.
impl<E: Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(kind_of(std::any::type_name::<E>()), with_sources(&error)).retryable()
    }
}

/// The error and its sources, joined by `: `. A source that the message already ends with, as some
/// libraries do, is not said twice.
fn with_sources(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = cause.source();
    }
    message
}

fn trace_from(location: &Location<'_>) -> Box<str> {
    let stack = host::backtrace();
    let separator = if stack.is_empty() { "" } else { "\n" };
    format!("{location}{separator}{stack}").into()
}

/// The last telling segment of a type's path in kebab case. Many crates call their error just
/// `Error`, in a module `error`: then the name is that of what is around it.
fn kind_of(type_name: &str) -> String {
    let path = type_name.split('<').next().unwrap_or_default();
    let path = path.trim_start_matches('&').trim_start_matches("mut ");
    let is_telling = |segment: &&str| !matches!(*segment, "Error" | "error" | "errors");
    path.rsplit("::")
        .find(is_telling)
        .map_or_else(|| "error".to_owned(), kebab)
}

fn kebab(name: &str) -> String {
    let mut kebab = String::with_capacity(name.len() + 4);
    let mut follows_lower = false;
    for c in name.chars() {
        if c == '_' {
            kebab.push('-');
            follows_lower = false;
            continue;
        }
        if c.is_uppercase() && follows_lower {
            kebab.push('-');
        }
        follows_lower = c.is_lowercase() || c.is_numeric();
        kebab.extend(c.to_lowercase());
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_kinds_after_error_types() {
        assert_eq!(
            kind_of("core::num::error::ParseIntError"),
            "parse-int-error"
        );
        assert_eq!(kind_of("std::io::error::Error"), "io");
        assert_eq!(kind_of("serde_json::error::Error"), "serde-json");
        assert_eq!(kind_of("app::Wrapped<std::io::Error>"), "wrapped");
        assert_eq!(kind_of("Error"), "error");
    }

    #[test]
    fn joins_sources_without_repeating_them() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError, bool);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.1 {
                    write!(f, "bad row: {}", self.0)
                } else {
                    write!(f, "bad row")
                }
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let cause = || "x".parse::<i32>().unwrap_err();
        let expected = "bad row: invalid digit found in string";
        assert_eq!(with_sources(&Outer(cause(), false)), expected);
        assert_eq!(with_sources(&Outer(cause(), true)), expected);
    }

    #[test]
    fn question_mark_records_where_it_stands() {
        fn fails() -> Result<i32, Failure> {
            Ok("x".parse::<i32>()?)
        }
        let failure = fails().unwrap_err();
        assert_eq!(failure.kind, "parse-int-error");
        assert!(failure.is_retryable);
        let trace = failure.trace.unwrap();
        assert!(trace.starts_with(file!()), "{trace}");
    }

    #[test]
    fn own_words_are_final_unless_they_say_otherwise() {
        assert!(!Failure::permanent("no").is_retryable);
        let failure = Failure::new("busy", "later").retry_after(Duration::from_secs(2));
        assert!(failure.is_retryable);
        assert_eq!(failure.retry_after, Some(Duration::from_secs(2)));
    }
}
