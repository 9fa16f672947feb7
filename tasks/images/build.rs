//! Gives this module a larger stack than the workspace's 64 KiB: the JPEG decoder keeps its Huffman
//! tables there, and overflows that within the header of an ordinary photograph.

/// Bytes. 128 KiB is enough for what is tested; twice that leaves room for rarer kinds of JPEG.
const STACK_SIZE: u32 = 256 * 1024;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm")) {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK_SIZE}");
    }
}
