use celeriac_guest::{Context, task};

#[task]
fn add(input: (i32, i32), ctx: &Context) -> i32 {
    ctx.progress(1, 1);
    input.0 + input.1
}

fn main() {}
