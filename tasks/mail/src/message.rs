//! A message as it travels: headers that cannot be added to by their values, and bodies in lines.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use celeriac_guest::Failure;

use crate::address::Address;
use crate::{Mail, invalid, recipients};

/// Bytes of text in one encoded word: with its frame it stays under 75 characters (RFC 2047).
const WORD_BYTES: usize = 45;

/// The longest line that travels as it is (RFC 5322).
const LINE_BYTES: usize = 998;

/// A message, ready to be sent.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) from: Address,
    pub(crate) recipients: Vec<Address>,
    /// Headers and body, in lines that end with CR LF.
    pub(crate) text: String,
}

impl Message {
    pub(crate) fn new(invocation: &str, mail: &Mail) -> Result<Self, Failure> {
        let from = Address::parse(&mail.from)?;
        let recipients = recipients(mail)?;
        if mail.subject.chars().any(char::is_control) {
            return Err(invalid("`subject` is one line without control characters"));
        }
        let id: String = invocation
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
            .collect();
        let id = format!("<{id}@{}>", from.domain());
        let date = httpdate::fmt_http_date(SystemTime::now()).replace("GMT", "+0000");
        let mut text = format!("From: {}\r\n", from.header());
        for (name, addresses) in [("To", &mail.to), ("Cc", &mail.cc)] {
            text += &people(name, addresses)?;
        }
        text += &format!("Subject: {}\r\n", encoded(&mail.subject));
        text += &format!("Date: {date}\r\nMessage-ID: {id}\r\nMIME-Version: 1.0\r\n");
        text += &bodies(mail)?;
        Ok(Self {
            id,
            from,
            recipients,
            text,
        })
    }
}

/// A header of addresses, one a line; nothing where there is none.
fn people(name: &str, addresses: &[String]) -> Result<String, Failure> {
    if addresses.is_empty() {
        return Ok(String::new());
    }
    let parsed: Result<Vec<_>, _> = addresses.iter().map(|text| Address::parse(text)).collect();
    let lines: Vec<_> = parsed?.iter().map(Address::header).collect();
    Ok(format!("{name}: {}\r\n", lines.join(",\r\n ")))
}

/// Text in a header: as it is where that is plain ASCII, else in encoded words.
pub(crate) fn encoded(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " -_.!?'+/#".contains(c);
    if text.chars().all(is_plain) && text.len() <= WORD_BYTES {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD_BYTES => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<_> = words
        .iter()
        .map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)))
        .collect();
    words.join("\r\n ")
}

fn bodies(mail: &Mail) -> Result<String, Failure> {
    match (&mail.text, &mail.html) {
        (Some(text), None) => Ok(part("plain", text)),
        (None, Some(html)) => Ok(part("html", html)),
        (Some(text), Some(html)) => {
            // Both parts are free of lines that begin with this: they are Base64, or are made so.
            let boundary = "=_celeriac_alternative";
            let parts = [("plain", text), ("html", html)];
            let mut all =
                format!("Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n");
            for (kind, body) in parts {
                let part = if body.contains(boundary) {
                    in_base64(kind, body)
                } else {
                    part(kind, body)
                };
                all += &format!("--{boundary}\r\n{part}\r\n");
            }
            Ok(all + &format!("--{boundary}--\r\n"))
        }
        (None, None) => Err(invalid("there is no body: give `text`, `html` or both")),
    }
}

/// A body with its headers: plain ASCII in short lines as it is, all else in Base64.
fn part(kind: &str, body: &str) -> String {
    let is_plain =
        |c: char| c == '\n' || c == '\r' || c == '\t' || c == ' ' || c.is_ascii_graphic();
    let is_short = body.lines().all(|line| line.len() <= LINE_BYTES);
    if !(is_short && body.chars().all(is_plain)) {
        return in_base64(kind, body);
    }
    let lines: Vec<_> = body
        .split('\n')
        .map(|line| line.trim_end_matches('\r').replace('\r', " "))
        .collect();
    format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n{}\r\n",
        lines.join("\r\n")
    )
}

fn in_base64(kind: &str, body: &str) -> String {
    let mut text = format!(
        "Content-Type: text/{kind}; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    );
    // 57 bytes make a line of 76 characters.
    for line in body.as_bytes().chunks(57) {
        text += &STANDARD.encode(line);
        text += "\r\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(json: serde_json::Value) -> Mail {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn hides_who_gets_it_blind() {
        let mail = mail(
            serde_json::json!({"from": "a@b", "to": ["c@d"], "bcc": ["e@f", "c@d"],
            "subject": "Hello", "text": "x"}),
        );
        let message = Message::new("id-1", &mail).unwrap();
        assert_eq!(message.recipients.len(), 2);
        assert!(!message.text.contains("e@f") && message.text.contains("To: c@d\r\n"));
        assert_eq!(message.id, "<id-1@b>");
    }

    #[test]
    fn a_subject_cannot_add_headers() {
        let injected = mail(serde_json::json!({"from": "a@b", "to": ["c@d"],
            "subject": "Hi\r\nBcc: x@y", "text": "x"}));
        assert!(Message::new("id", &injected).is_err());
        let long = "ä".repeat(100);
        for line in encoded(&long).split("\r\n") {
            assert!(line.len() < 76, "{line}");
        }
    }

    #[test]
    fn bodies_travel_in_lines() {
        assert!(part("plain", "a\nb\r\nc").ends_with("\r\n\r\na\r\nb\r\nc\r\n"));
        assert!(part("plain", "ä").contains("base64"));
        assert!(
            part("plain", &"x".repeat(999))
                .lines()
                .all(|line| line.len() < 100)
        );
    }
}
