//! Celeriac: a task executor whose tasks are WebAssembly components.

pub mod engine;
pub mod gateway;
pub mod local;
pub mod module;
pub mod policy;
pub mod process;
pub mod settings;
pub mod worker;
