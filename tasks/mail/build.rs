//! The elliptic curves of TLS keep their tables on the stack.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family.contains("wasm")) {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=1048576");
    }
}
