//! The protocol: commands, replies, and what each reply means for the message.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use celeriac_guest::{Failure, info};

use crate::address::Address;
use crate::settings::{Settings, Tls};
use crate::tls::encrypt;

/// A longer line, or more lines in one reply, is no SMTP (RFC 5321 has 512 bytes).
const LINE_BYTES: usize = 4 << 10;
const REPLY_LINES: usize = 128;

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// An answer of the server.
#[derive(Debug)]
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }

    /// Fails unless the server agreed.
    fn expect(self, code: u16, what: &str) -> Result<Self, Failure> {
        if self.code / 100 == code / 100 {
            return Ok(self);
        }
        let text = format!("the server answered {what} with: {}", self.text());
        Err(match self.code {
            400..500 => Failure::new("smtp-temporary", text).retryable(),
            530 | 534 | 535 | 538 => Failure::new("smtp-auth", text),
            _ => Failure::new("smtp-rejected", text),
        })
    }
}

/// A conversation with the server, encrypted from here on.
pub(crate) struct Session {
    wire: Wire<'static>,
    capabilities: Vec<String>,
}

impl Session {
    /// Connects, encrypts, and says hello.
    pub(crate) fn open(settings: &Settings, domain: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect((settings.host.as_str(), settings.port))?;
        let mut wire = match settings.tls {
            Tls::Implicit => {
                let mut wire = Wire::over(Box::new(encrypt(settings, stream)?));
                wire.reply()?.expect(220, "the connection")?;
                wire
            }
            Tls::StartTls => {
                let mut clear = Wire::over(Box::new(&stream));
                clear.reply()?.expect(220, "the connection")?;
                clear.hello(domain)?;
                clear.command("STARTTLS")?.expect(220, "STARTTLS")?;
                // Whatever came after the answer was not encrypted, and could be anybody's.
                if !clear.is_read() {
                    return Err(Failure::new(
                        "smtp-tls",
                        "the server spoke on in the clear after STARTTLS",
                    ));
                }
                drop(clear);
                Wire::over(Box::new(encrypt(settings, stream)?))
            }
        };
        let capabilities = wire.hello(domain)?;
        Ok(Self { wire, capabilities })
    }

    /// Signs in by a way that the server offers.
    pub(crate) fn sign_in(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let offers = |way: &str| {
            self.capabilities.iter().any(|line| {
                let mut words = line.split_ascii_whitespace();
                words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("AUTH"))
                    && words.any(|word| word.eq_ignore_ascii_case(way))
            })
        };
        if offers("PLAIN") {
            let proof = STANDARD.encode(format!("\0{user}\0{password}"));
            self.wire
                .command(&format!("AUTH PLAIN {proof}"))?
                .expect(235, "AUTH")?;
        } else if offers("LOGIN") {
            self.wire.command("AUTH LOGIN")?.expect(334, "AUTH")?;
            self.wire
                .command(&STANDARD.encode(user))?
                .expect(334, "AUTH")?;
            self.wire
                .command(&STANDARD.encode(password))?
                .expect(235, "AUTH")?;
        } else {
            let text = "the server offers neither AUTH PLAIN nor AUTH LOGIN";
            return Err(Failure::new("smtp-auth", text));
        }
        info!("signed in");
        Ok(())
    }

    /// Names sender and recipients. Who of them the server took, and whom it refused; fails if it took none.
    #[expect(
        clippy::type_complexity,
        reason = "two lists, named where they are used"
    )]
    pub(crate) fn envelope(
        &mut self,
        from: &Address,
        recipients: &[Address],
    ) -> Result<(Vec<String>, Vec<(String, String)>), Failure> {
        let command = format!("MAIL FROM:<{}>", from.mailbox);
        self.wire.command(&command)?.expect(250, "MAIL FROM")?;
        let (mut accepted, mut refused) = (Vec::new(), Vec::new());
        let mut failure = None;
        for Address { mailbox, .. } in recipients {
            let reply = self.wire.command(&format!("RCPT TO:<{mailbox}>"))?;
            let text = reply.text();
            match reply.expect(250, "RCPT TO") {
                Ok(_) => accepted.push(mailbox.clone()),
                Err(error) => {
                    refused.push((mailbox.clone(), text));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(failure) if accepted.is_empty() => Err(failure),
            _ => Ok((accepted, refused)),
        }
    }

    /// Sends the message; returns what the server said to it.
    pub(crate) fn data(&mut self, text: &str) -> Result<String, Failure> {
        self.wire.command("DATA")?.expect(354, "DATA")?;
        self.wire.stream.write_all(stuffed(text).as_bytes())?;
        self.wire.stream.flush()?;
        let reply = self.wire.reply()?.expect(250, "the message")?;
        Ok(reply.text())
    }

    /// Says goodbye. The message is the server's by now, whatever it answers.
    pub(crate) fn quit(mut self) {
        let _ = self.wire.command("QUIT");
    }
}

/// A message between its first line and the dot that ends it: a line that begins with a dot gets another.
fn stuffed(text: &str) -> String {
    let mut stuffed = String::with_capacity(text.len() + 16);
    for line in text.split_terminator("\r\n") {
        if line.starts_with('.') {
            stuffed.push('.');
        }
        stuffed.push_str(line);
        stuffed.push_str("\r\n");
    }
    stuffed + ".\r\n"
}

/// A connection, read by lines.
struct Wire<'a> {
    stream: Box<dyn Stream + 'a>,
    read: Vec<u8>,
}

impl<'a> Wire<'a> {
    fn over(stream: Box<dyn Stream + 'a>) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    /// Whether all that came was read.
    fn is_read(&self) -> bool {
        self.read.is_empty()
    }

    fn hello(&mut self, domain: &str) -> Result<Vec<String>, Failure> {
        let reply = self
            .command(&format!("EHLO {domain}"))?
            .expect(250, "EHLO")?;
        Ok(reply.lines)
    }

    fn command(&mut self, command: &str) -> Result<Reply, Failure> {
        if command.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Failure::new("invalid-input", "a command is one line"));
        }
        self.stream.write_all(format!("{command}\r\n").as_bytes())?;
        self.stream.flush()?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply, Failure> {
        let strange = |line: &str| {
            Failure::new("smtp-protocol", format!("the server said {line:?}")).retryable()
        };
        let mut lines = Vec::new();
        while lines.len() < REPLY_LINES {
            let line = self.line()?;
            let (code, rest) = line.split_at_checked(3).ok_or_else(|| strange(&line))?;
            let code = code.parse().map_err(|_| strange(&line))?;
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(strange("more lines than a reply has"))
    }

    fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut chunk = [0; 1024];
            let count = self.stream.read(&mut chunk)?;
            if count == 0 || self.read.len() > LINE_BYTES {
                let text = "the connection ended, or a line did not";
                return Err(Failure::new("smtp-protocol", text).retryable());
            }
            self.read
                .extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_dot_does_not_end_the_message() {
        assert_eq!(stuffed("a\r\n.\r\n..b\r\n"), "a\r\n..\r\n...b\r\n.\r\n");
    }

    #[test]
    fn replies_say_whether_to_try_again() {
        let reply = |code| Reply {
            code,
            lines: vec!["x".to_owned()],
        };
        assert!(reply(251).expect(250, "x").is_ok());
        assert!(reply(451).expect(250, "x").unwrap_err().is_retryable);
        assert!(!reply(550).expect(250, "x").unwrap_err().is_retryable);
        assert_eq!(reply(535).expect(235, "x").unwrap_err().kind, "smtp-auth");
    }
}
