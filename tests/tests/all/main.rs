//! End-to-end tests, in one binary so that they link once. One module for each promise.

mod crash;
mod documented;
mod drain;
mod flow;
mod idle;
mod runaway;
mod upload;
