use celeriac_guest::task;

struct Resizer;

impl Resizer {
    #[task]
    fn resize(&self, width: u32) -> u32 {
        width
    }
}

fn main() {}
