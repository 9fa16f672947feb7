//! Addresses of people, read strictly: what goes into a command or a header must not be able to begin another.

use celeriac_guest::Failure;

use crate::invalid;
use crate::message::encoded;

/// The longest mailbox (RFC 5321, 4.5.3.1).
const MAX_BYTES: usize = 254;

/// A mailbox, and the name of whose it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) name: Option<String>,
    pub(crate) mailbox: String,
}

impl Address {
    /// Reads `a@b` or `Name <a@b>`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim();
        let (name, mailbox) = match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
            Some((name, mailbox)) => (Some(name.trim().trim_matches('"')), mailbox),
            None => (None, text),
        };
        let name = name.filter(|name| !name.is_empty()).map(ToOwned::to_owned);
        let is_clean = name.iter().all(|name| !name.chars().any(char::is_control));
        if !is_clean || !is_mailbox(mailbox) {
            let shown: String = text.chars().take(80).collect();
            return Err(invalid(format!(
                "{shown:?} is no address: write `a@example.com` or `Name <a@example.com>`"
            )));
        }
        Ok(Self {
            name,
            mailbox: mailbox.to_owned(),
        })
    }

    /// What follows the `@`.
    pub(crate) fn domain(&self) -> &str {
        self.mailbox
            .rsplit_once('@')
            .map_or("localhost", |(_, domain)| domain)
    }

    /// The address as a header has it.
    pub(crate) fn header(&self) -> String {
        match &self.name {
            Some(name) => format!("{} <{}>", encoded(name), self.mailbox),
            None => self.mailbox.clone(),
        }
    }
}

/// Whether text is a mailbox: a name and a domain in ASCII, without quotes, spaces and brackets.
fn is_mailbox(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let is_atom =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    let is_domain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    text.len() <= MAX_BYTES
        && !name.is_empty()
        && !domain.is_empty()
        && name.bytes().all(is_atom)
        && domain.bytes().all(is_domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_with_and_without_names() {
        let plain = Address::parse("a.b+c@example.com").unwrap();
        assert_eq!((plain.name.as_ref(), plain.domain()), (None, "example.com"));
        let named = Address::parse("\"Zoë\" <zoe@example.com>").unwrap();
        assert_eq!(named.header(), "=?UTF-8?B?Wm/Dqw==?= <zoe@example.com>");
    }

    #[test]
    fn refuses_what_could_begin_another_command() {
        for text in [
            "",
            "a",
            "@b",
            "a@",
            "a@b\r\nRCPT TO:<c@d>",
            "a@b>\r\nDATA",
            "A\r\nBcc: x@y <a@b>",
            "a b@c",
            "<a@b> SIZE=1 <c@d>",
            "a@b,c@d",
            "ä@b",
        ] {
            assert!(Address::parse(text).is_err(), "{text:?}");
        }
    }
}
