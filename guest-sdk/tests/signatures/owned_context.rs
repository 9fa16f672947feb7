use celeriac_guest::{Context, task};

#[task]
fn attempt(ctx: Context) -> u32 {
    ctx.attempt()
}

fn main() {}
