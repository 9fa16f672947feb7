use celeriac_guest::task;

#[task(memory = "64 megs")]
fn resize() {}

#[task(memory = "8GiB")]
fn enlarge() {}

#[task(timeout = "soon")]
fn hurry() {}

#[task(fuel = "0")]
fn coast() {}

#[task(retries = "three")]
fn insist() {}

#[task(backoff = "exponential(1s)")]
fn repeat() {}

fn main() {}
