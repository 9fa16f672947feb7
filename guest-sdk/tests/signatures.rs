//! Wrong uses of `#[task]` are compile errors that say what to write.

#[test]
fn wrong_tasks_say_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/signatures/*.rs");
}
