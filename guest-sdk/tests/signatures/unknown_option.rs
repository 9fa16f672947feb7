use celeriac_guest::task;

#[task(retry = 3)]
fn resize() {}

fn main() {}
