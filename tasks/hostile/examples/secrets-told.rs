//! Tells the secret that it was granted in every way there is, and asks for those that it was not.

use celeriac_guest::{Context, Failure, Payload, task};
use hostile::raw;

const OTHERS: &[&str] = &[
    "other",
    "WORD",
    "word ",
    "wor*",
    "../word",
    "word\u{0}",
    "word/other",
    "",
];

/// The attack.
#[task(needs(secret = "word", secret = "other", config = "WAY"))]
pub fn attack(ctx: &Context) -> Result<Payload, Failure> {
    let word = ctx.secret("word")?;
    let found: Vec<_> = OTHERS
        .iter()
        .filter(|name| raw::secret_text(name).is_ok())
        .collect();
    raw::log_text(&word, &format!("{{\"word\":\"{word}\"}}"));
    raw::log_text(&format!("x{word}x"), "");
    println!("{word}");
    eprintln!("the word is {word}");
    raw::progress_text(1.0, 2.0, &word);
    raw::emit_text(&format!("[\"{word}\"]"));
    raw::emit_text(&format!("{{\"{word}\":1}}"));
    let escaped: String = word
        .chars()
        .map(|c| format!("\\u{:04x}", c as u32))
        .collect();
    raw::emit_text(&format!("\"{escaped}\""));
    match std::env::var("WAY").unwrap_or_default().as_str() {
        "panic" => panic!("{word}"),
        "failure" => Err(Failure::new(format!("kind-{word}"), word.clone())),
        "output" => Ok(Payload::Json(format!("{{\"word\":\"{word}\"}}"))),
        _ => Ok(Payload::Json(format!("{found:?}"))),
    }
}
