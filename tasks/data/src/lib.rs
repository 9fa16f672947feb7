//! Tasks on tables: CSV to JSON with types found by looking, and aggregation by group.

mod aggregate;
mod column;
mod convert;
mod table;
