use celeriac_guest::{Context, task};

#[task]
fn add(ctx: &Context, a: i32, b: i32) -> i32 {
    ctx.progress(1, 1);
    a + b
}

fn main() {}
