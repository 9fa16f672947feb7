use celeriac_guest::task;

#[task(name = "images/resize")]
fn resize() {}

#[task(queue = "a", queue = "b")]
fn enlarge() {}

fn main() {}
