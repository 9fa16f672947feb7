//! Secrets in every form that is looked for, and texts that must stay as they are.

use std::collections::BTreeMap;

use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::*;
use crate::engine::Secret;

const TOKEN: &str = "pä/ss\"w0rd +x?";

fn redactor(secrets: &[(&str, &str)]) -> Redactor {
    let secrets: BTreeMap<_, _> = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())))
        .collect();
    Redactor::new(&secrets).unwrap()
}

#[test]
fn there_is_none_without_secrets() {
    assert!(Redactor::new(&BTreeMap::new()).is_none());
}

#[test]
fn finds_each_usual_form() {
    let redactor = redactor(&[("token", TOKEN)]);
    let quoted = serde_json::to_string(TOKEN).unwrap();
    let forms = [
        TOKEN.to_owned(),
        quoted.trim_matches('"').to_owned(),
        STANDARD.encode(TOKEN),
        URL_SAFE.encode(TOKEN),
        STANDARD_NO_PAD.encode(TOKEN),
        percent(TOKEN, true),
        percent(TOKEN, false),
        percent(TOKEN, true).replace("%20", "+"),
        hex(TOKEN, true),
        hex(TOKEN, false),
    ];
    for form in forms {
        let clean = redactor.text(&format!("a {form} b")).into_owned();
        assert!(clean.starts_with("a [secret token]"), "{form}: {clean}");
        assert!(clean.len() < 24, "{form}: {clean}");
    }
}

#[test]
fn finds_base64_wherever_it_begins() {
    let redactor = redactor(&[("token", "correct-horse")]);
    for before in ["", "u", "us", "user:", "user1:"] {
        let whole = STANDARD.encode(format!("{before}correct-horse, and more"));
        let clean = redactor.text(&whole);
        assert!(clean.contains("[secret token]"), "{before}: {clean}");
        // At most one byte at each end, mixed with its neighbour, is left.
        let left = STANDARD.encode("rect-ho");
        assert!(!clean.contains(left.trim_end_matches('=')), "{clean}");
    }
}

#[test]
fn each_secret_has_its_label_and_the_longer_one_hides_the_shorter() {
    let redactor = redactor(&[
        ("a", "secret"),
        ("b", "secret-key"),
        ("odd \"name", "other"),
    ]);
    assert_eq!(
        redactor.text("secret-key, secret, other"),
        "[secret b], [secret a], [secret odd__name]"
    );
}

#[test]
fn json_stays_json_and_no_escape_hides_a_value() {
    let redactor = redactor(&[
        ("token", "hunter22"),
        ("pin", "73518"),
        ("quote", "a\",\"b"),
    ]);
    let cases = [
        (r#"{"x":"my hunter22!"}"#, r#"{"x":"my [secret token]!"}"#),
        (r#"{"hunter22":1}"#, r#"{"[secret token]":1}"#),
        (r#"["\u0068unter22\n"]"#, r#"["[secret token]\n"]"#),
        (
            r#"[ 73518 , 1.73518e3, "73518" ]"#,
            r#"[ "[secret pin]" , "[secret pin]", "[secret pin]" ]"#,
        ),
        (r#"["a\",\"b"]"#, r#"["[secret quote]"]"#),
        // Found only across tokens: the whole document goes.
        (r#"["a","b"]"#, r#""[secret quote]""#),
        (r#"{"x":"\u00e9 \\ fine"}"#, r#"{"x":"\u00e9 \\ fine"}"#),
    ];
    for (json, expected) in cases {
        let clean = redactor.json(json);
        assert_eq!(clean, expected);
        serde_json::from_str::<serde_json::Value>(&clean).unwrap();
    }
    // What is no JSON comes out without the secret all the same.
    for broken in [
        "\"hunter22",
        "{hunter22\\",
        "\\u00",
        "\"\\",
        "é\"hunter22\\\"",
    ] {
        assert!(!redactor.json(broken).contains("hunter22"), "{broken}");
    }
}

#[test]
fn lines_of_a_long_secret_count_by_themselves() {
    let redactor = redactor(&[(
        "key",
        "-----BEGIN KEY-----\nQUJDREVGR0g=\n}\n-----END KEY-----\n",
    )]);
    assert_eq!(
        redactor.text("line QUJDREVGR0g= here"),
        "line [secret key] here"
    );
    assert_eq!(redactor.text("a } b"), "a } b");
}

#[test]
fn short_secrets_are_refused_and_left_alone() {
    check_secret("pin", "1234").unwrap();
    for value in ["", "123", " 12 \n"] {
        let error = check_secret("pin", value).unwrap_err();
        assert!(error.to_string().contains("`pin`"), "{error}");
        let secrets = [("pin".to_owned(), Secret::new(value.to_owned()))];
        assert!(Redactor::new(&secrets.into()).is_none());
    }
}

#[test]
fn nothing_but_secrets_does_not_grow() {
    let redactor = redactor(&[("token", "abcd")]);
    assert_eq!(
        redactor.bytes("abcd".repeat(100_000).into()),
        b"[secret token]"
    );
    assert_eq!(
        redactor.bytes("abcd ".repeat(100_000).into()),
        b"[secret token]"
    );
    let list = format!("[{}\"\"]", "\"abcd\",".repeat(100_000));
    assert_eq!(redactor.json(&list), "\"[secret token]\"");
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let redactor = redactor(&[("token", "abcd")]);
    let bytes: Vec<u8> = (0..=255)
        .cycle()
        .take(10_000)
        .filter(|byte| *byte != b'c')
        .collect();
    assert_eq!(redactor.bytes(bytes.clone()), bytes);
    assert_eq!(
        redactor.bytes(b"\xff\0abcd\xfe".to_vec()),
        b"\xff\0[secret token]\xfe"
    );
}

#[test]
fn an_unfinished_line_goes_only_as_far_as_no_secret_can_span() {
    let redactor = redactor(&[("token", "hunter22hunter22")]);
    let mut line = vec![b'.'; 500];
    line.extend_from_slice(b"hunter22hunt");
    let end = redactor.finished(&line);
    assert!((1..=500).contains(&end), "{end}");
    line.extend_from_slice(b"er22");
    let end = redactor.finished(&line);
    assert!(end <= 500 || end == 516, "{end}");
}

#[test]
fn fields_stay_an_object() {
    let redactor = redactor(&[("odd", "a\":\"b")]);
    let fields = redactor.fields(r#"{"a":"b"}"#);
    assert_eq!(fields, r#"{"redacted":"[secret odd]"}"#);
    assert_eq!(redactor.fields(""), "");
}
