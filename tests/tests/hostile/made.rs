//! Modules that are too large, or too odd, to be written down.

use std::fmt::Write as _;

use crate::module::assemble;

/// The first bytes of a component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
/// The section of a component inside a component.
const COMPONENT_SECTION: u8 = 4;

fn fields(text: &str) -> Vec<u8> {
    assemble(text).unwrap()
}

/// A whole component, with the contract's types and exports in place.
fn component(before: &str, after: &str) -> Vec<u8> {
    let core = r#"
  (core module $m
    (memory (export "memory") 1)
    (data (i32.const 16) "\40\00\00\00\01\00\00\00") (data (i32.const 64) "\00\02\00\00\06")
    (data (i32.const 512) "attack") (data (i32.const 600) "null")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "describe") (result i32) (i32.const 16))
    (func (export "post-run") (param i32))
    (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
      (i32.store (i32.const 1036) (i32.const 600)) (i32.store (i32.const 1040) (i32.const 4)) (i32.const 1024)))
  (core instance $i (instantiate $m))"#;
    assemble(&format!(
        "(component\n{before}\n$TYPES\n{core}\n$EXPORTS\n{after})"
    ))
    .unwrap()
}

fn times(count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "{}", part(n));
        text
    })
}

pub(crate) fn functions() -> Vec<u8> {
    fields(&times(10_000, |n| {
        format!("(func (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))")
    }))
}

pub(crate) fn functions_million() -> Vec<u8> {
    fields(&times(1_000_001, |_| "(func)".to_owned()))
}

/// Each of 400,000 functions is little work; all of them are more than compiling may take.
pub(crate) fn functions_endless() -> Vec<u8> {
    let body = "(i32.add (i32.mul (local.get 0) (local.get 0)) (call $next (local.get 0)))";
    let mut text = "(func $next (param i32) (result i32) (local.get 0))".to_owned();
    text += &times(400_000, |_| {
        format!("(func (param i32) (result i32) {body})")
    });
    fields(&text)
}

pub(crate) fn locals() -> Vec<u8> {
    fields(&format!("(func (local {}))", "i64 ".repeat(1_000_000)))
}

pub(crate) fn parameters() -> Vec<u8> {
    fields(&format!("(func (param {}))", "i64 ".repeat(100_000)))
}

pub(crate) fn jump_table() -> Vec<u8> {
    fields(&format!(
        "(func (param i32) (block (br_table {} (local.get 0))))",
        "0 ".repeat(1_000_000)
    ))
}

pub(crate) fn blocks_deep() -> Vec<u8> {
    let depth = 5_000;
    fields(&format!(
        "(func {}{})",
        "(block ".repeat(depth),
        ")".repeat(depth)
    ))
}

/// Functions in which every one of thousands of variables meets every one of thousands of branches.
pub(crate) fn compile_explosion() -> Vec<u8> {
    let (locals, branches) = (2_000, 2_000);
    let mut body = times(locals, |n| format!("(local.set {} (i64.const {n}))", n + 1));
    body += &times(branches, |n| {
        let (a, b) = (n % locals + 1, n * 7 % locals + 1);
        format!(
            "(loop (if (i64.eqz (local.get {a})) (then (local.set {b} (i64.mul (local.get {a}) (local.get {b}))) (br 1))
             (else (local.set {a} (i64.xor (local.get {a}) (local.get 0))))))"
        )
    });
    body += &times(locals, |n| {
        format!(
            "(local.set 0 (i64.add (local.get 0) (local.get {})))",
            n + 1
        )
    });
    let function = format!(
        "(func (param i64) (local {}) {body})",
        "i64 ".repeat(locals)
    );
    fields(&function.repeat(60))
}

pub(crate) fn data_huge() -> Vec<u8> {
    fields(&format!(
        "(memory (export \"memory\") 400) (data (i32.const 65536) \"{}\")",
        "a".repeat(20 << 20)
    ))
}

pub(crate) fn data_segments() -> Vec<u8> {
    fields(&times(100_001, |_| "(data \"x\")".to_owned()))
}

/// Two bytes sixty megabytes apart: the image of the memory has all that lies between them.
pub(crate) fn image_bomb() -> Vec<u8> {
    let module = |n| {
        format!(
            "(core module $image{n} (memory 1000) (data (i32.const 0) \"x\") (data (i32.const 63000000) \"x\"))"
        )
    };
    component(&times(8, module), "")
}

pub(crate) fn upload_huge() -> Vec<u8> {
    let mut bytes = COMPONENT.to_vec();
    bytes.resize((32 << 20) + 1, 0);
    bytes
}

pub(crate) fn nested() -> Vec<u8> {
    let mut bytes = COMPONENT.to_vec();
    for _ in 0..10_000 {
        let mut outer = COMPONENT.to_vec();
        outer.push(COMPONENT_SECTION);
        length(&mut outer, bytes.len());
        outer.append(&mut bytes);
        bytes = outer;
    }
    bytes
}

/// A length as wasm writes it: seven bits a byte, the lowest first.
fn length(bytes: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

pub(crate) fn types_deep() -> Vec<u8> {
    let links = times(2_000, |n| format!("(type $t{} (list $t{n}))", n + 1));
    component(&format!("(type $t0 (list u8)) {links}"), "")
}

/// Ten types, each a hundred of the one before it: 10^20 bytes when written out.
pub(crate) fn types_wide() -> Vec<u8> {
    let links = times(10, |n| {
        format!(
            "(type $t{} (tuple {}))",
            n + 1,
            format!("$t{n} ").repeat(100)
        )
    });
    component(&format!("(type $t0 (list u8)) {links}"), "")
}

/// Millions of names, each of which a validator has to remember.
pub(crate) fn types_names() -> Vec<u8> {
    let cases: String = (0..10_000).fold(String::new(), |mut text, n| {
        let _ = write!(text, "\"{}\" ", name(n));
        text
    });
    component(&times(300, |n| format!("(type $e{n} (enum {cases}))")), "")
}

/// A short name: letters count.
fn name(mut n: usize) -> String {
    let mut text = String::new();
    for _ in 0..3 {
        text.push(char::from(b'a' + (n % 26) as u8));
        n /= 26;
    }
    text
}

pub(crate) fn core_types() -> Vec<u8> {
    fields(&times(300_000, |n| {
        let bits = (0..19).map(|bit| if n >> bit & 1 == 0 { "i32 " } else { "i64 " });
        format!("(type (func (param {})))", bits.collect::<String>())
    }))
}

pub(crate) fn imports() -> Vec<u8> {
    component(
        &times(900, |n| format!("(import \"acme:a{n}/b\" (instance))")),
        "",
    )
}

pub(crate) fn exports() -> Vec<u8> {
    component(
        "",
        &times(5_000, |n| format!("(export \"e{n}\" (func $run))")),
    )
}

pub(crate) fn memories() -> Vec<u8> {
    component(
        &format!(
            "(core module $one (memory 1)) {}",
            times(50, |_| "(core instance (instantiate $one))".to_owned())
        ),
        "",
    )
}

pub(crate) fn instances() -> Vec<u8> {
    component(
        &format!(
            "(core module $one (global i32 (i32.const 0))) {}",
            times(900, |_| "(core instance (instantiate $one))".to_owned())
        ),
        "",
    )
}

/// A function whose name, once readable, is longer than any memory: each part of it names the one before it twice.
pub(crate) fn names_cpp() -> Vec<u8> {
    let mut mangled = "_Z1f1AIiiE".to_owned();
    for n in 0..60 {
        let digit = |n: u32| char::from_digit(n, 36).unwrap().to_ascii_uppercase();
        let previous = if n < 36 {
            format!("S{}_", digit(n))
        } else {
            format!("S{}{}_", digit(n / 36), digit(n % 36))
        };
        mangled += &format!("S_I{previous}{previous}E");
    }
    traps_under(&mangled)
}

/// The same in Rust's own manner: each tuple holds the one before it twice.
pub(crate) fn names_rust() -> Vec<u8> {
    // `crate::f::<T>` with T a nest of tuples; `B` refers back to where the inner one is written.
    let mut mangled = "_RINvC1a1f".to_owned();
    let mut at = mangled.len() - 2;
    mangled.push_str("TllE");
    for _ in 0..60 {
        let back = mangled.len() - 2;
        mangled += &format!("TB{0}_B{0}_E", base_62(at));
        at = back;
    }
    mangled.push('E');
    traps_under(&mangled)
}

/// A number as Rust's names have it: nothing for 0, else one less in base 62.
fn base_62(n: usize) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let Some(mut n) = n.checked_sub(1) else {
        return String::new();
    };
    let mut digits = Vec::new();
    loop {
        digits.push(DIGITS[n % 62]);
        n /= 62;
        if n == 0 {
            break;
        }
    }
    digits.reverse();
    String::from_utf8(digits).unwrap()
}

/// Traps in a function of that name, so that the host wants to write the name down.
fn traps_under(mangled: &str) -> Vec<u8> {
    fields(&format!(
        "(func $f (@name \"{mangled}\") (result i32) (unreachable))
         (func (export \"run\") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (call $f))"
    ))
}

/// A function with a name of ninety kilobytes, twenty times on the stack.
pub(crate) fn names_long() -> Vec<u8> {
    fields(&format!(
        "(func $f (@name \"{}\") (param i32) (result i32)
           (if (i32.eqz (local.get 0)) (then (unreachable)))
           (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))
         (func (export \"run\") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (call $f (i32.const 30)))",
        "n".repeat(90_000)
    ))
}
