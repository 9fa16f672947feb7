//! Tasks on text: Markdown to HTML, and word statistics.

pub mod markdown;
pub mod statistics;
