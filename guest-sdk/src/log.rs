//! Log records with fields: macros that need no context.

use serde::Serialize;

use crate::host;

/// How much a log record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step, for following one invocation.
    Trace,
    /// For whoever debugs the task.
    Debug,
    /// What the task did.
    Info,
    /// Something is off, and the task went on.
    Warn,
    /// Something failed.
    Error,
}

/// A value that can stand in a field: anything `Serialize`.
#[doc(hidden)]
pub trait Field {
    /// Appends the value as JSON.
    fn write(&self, json: &mut String);
}

impl<T: Serialize + ?Sized> Field for T {
    fn write(&self, json: &mut String) {
        let value = serde_json::to_string(self).or_else(|error| {
            // A field never fails a task: it then says why it has no value.
            serde_json::to_string(&format!("<{error}>"))
        });
        json.push_str(value.as_deref().unwrap_or("null"));
    }
}

#[doc(hidden)]
pub fn __log(level: Level, message: &str, fields: &[(&str, &dyn Field)]) {
    let mut json = String::new();
    for (key, value) in fields {
        json.push_str(if json.is_empty() { "{\"" } else { ",\"" });
        json.push_str(key);
        json.push_str("\":");
        value.write(&mut json);
    }
    if !json.is_empty() {
        json.push('}');
    }
    host::log(level, message, &json);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($key:ident = $value:expr,)* $format:literal $($arguments:tt)*) => {
        $crate::__private::__log(
            $crate::Level::$level,
            &::std::format!($format $($arguments)*),
            &[$((::core::stringify!($key), &$value as &dyn $crate::__private::Field)),*],
        )
    };
}

/// Logs at level trace; see [`info!`](crate::info!).
#[macro_export]
macro_rules! trace { ($($record:tt)+) => { $crate::__log!(Trace, $($record)+) }; }

/// Logs at level debug; see [`info!`](crate::info!).
#[macro_export]
macro_rules! debug { ($($record:tt)+) => { $crate::__log!(Debug, $($record)+) }; }

/// Logs at level info: fields first, any `Serialize`, then the message as `format!` takes it.
///
/// ```
/// use celeriac_guest::info;
///
/// let (width, names) = (320, ["a.png", "b.png"]);
/// info!("starting");
/// info!(width = width, files = names, "resizing {} files", names.len());
/// ```
#[macro_export]
macro_rules! info { ($($record:tt)+) => { $crate::__log!(Info, $($record)+) }; }

/// Logs at level warn; see [`info!`](crate::info!).
#[macro_export]
macro_rules! warn { ($($record:tt)+) => { $crate::__log!(Warn, $($record)+) }; }

/// Logs at level error; see [`info!`](crate::info!).
#[macro_export]
macro_rules! error { ($($record:tt)+) => { $crate::__log!(Error, $($record)+) }; }
