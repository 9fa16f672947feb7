use celeriac_guest::task;

#[task(needs(https = "api.example.com"))]
fn fetch() {}

fn main() {}
