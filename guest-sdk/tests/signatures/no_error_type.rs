use celeriac_guest::task;

struct Problem;

#[task]
fn resize() -> Result<u32, Problem> {
    Err(Problem)
}

fn main() {}
