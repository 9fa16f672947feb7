use celeriac_guest::task;

#[task]
fn identity<T>(input: T) -> T {
    input
}

fn main() {}
