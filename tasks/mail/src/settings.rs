//! Which server, and how: the operator's configuration.

use celeriac_guest::Failure;

/// How the connection is made secret.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tls {
    /// In the clear at first, encrypted before anything of worth is said.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// The server that mail goes through.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) user: Option<String>,
    pub(crate) authority: Option<String>,
}

impl Settings {
    pub(crate) fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let wrong = |text: String| Failure::new("configuration", text);
        let value = |name: &str| value(name).filter(|value| !value.is_empty());
        let host = value("SMTP_HOST")
            .ok_or_else(|| wrong("`SMTP_HOST` is not configured for this task".to_owned()))?;
        let tls = match value("SMTP_TLS").as_deref() {
            None | Some("starttls") => Tls::StartTls,
            Some("implicit") => Tls::Implicit,
            Some(other) => {
                return Err(wrong(format!(
                    "`SMTP_TLS` is `{other}`: write `starttls` or `implicit`"
                )));
            }
        };
        let standard = if tls == Tls::Implicit { 465 } else { 587 };
        let port = match value("SMTP_PORT") {
            None => standard,
            Some(text) => text
                .parse()
                .map_err(|_| wrong(format!("`SMTP_PORT` is `{text}`, which is no port")))?,
        };
        Ok(Self {
            host,
            port,
            tls,
            user: value("SMTP_USER"),
            authority: value("SMTP_CA"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_defaults_and_says_what_is_wrong() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            Settings::read(move |name| {
                pairs
                    .iter()
                    .find(|(k, _)| k == name)
                    .map(|(_, v)| v.clone())
            })
        };
        assert_eq!(of(&[("SMTP_HOST", "h")]).unwrap().port, 587);
        assert_eq!(
            of(&[("SMTP_HOST", "h"), ("SMTP_TLS", "implicit")])
                .unwrap()
                .port,
            465
        );
        for wrong in [
            &[][..],
            &[("SMTP_HOST", "h"), ("SMTP_TLS", "none")],
            &[("SMTP_HOST", "h"), ("SMTP_PORT", "x")],
        ] {
            assert_eq!(of(wrong).unwrap_err().kind, "configuration");
        }
    }
}
