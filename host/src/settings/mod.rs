//! The settings of every command: one table, read from one file, the environment and flags.
//!
//! [`Settings::load`] resolves them once, at start; nothing reads the environment later. Each value
//! remembers where it came from. `table` is the only place that names keys, defaults and units.

mod error;
mod layers;
mod limits_page;
mod render;
mod resolved;
mod table;
pub mod units;
mod value;

pub use self::{
    error::SettingsError,
    layers::{Override, Source},
    limits_page::limits_page,
    render::{example, reference},
    resolved::{Compile, Durability, Entry, Http, LogFormat, Settings, without_password},
    table::{Default, Row, TABLE},
    value::{Kind, Value},
};
