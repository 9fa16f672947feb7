//! The HTTP gateway that the settings describe.

use std::sync::Arc;

use celeriac::{
    gateway::{Gateway, GatewayError, Options, TlsFiles},
    settings::Settings,
};
use celeriac_broker::Broker;

use super::{error::CliError, exit::Exit, output::Output};

/// Starts it, unless it is off. A port that nobody chose may be taken by another host on this machine: then there is none.
pub(crate) async fn start(
    broker: Arc<dyn Broker>,
    settings: &Settings,
    out: &Output,
) -> Result<Option<Gateway>, CliError> {
    let Some(options) = options(settings)? else {
        return Ok(None);
    };
    match Gateway::start(broker, options).await {
        Ok(gateway) => {
            out.note(&format!("{} answers {}", gateway.url(), who(&gateway)));
            Ok(Some(gateway))
        }
        Err(error @ GatewayError::Listen { .. }) if !settings.is_set("http.listen") => {
            out.warn(
                &error.to_string(),
                "another port: `--http 127.0.0.1:7374`; none: `--http off`",
            );
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn who(gateway: &Gateway) -> &'static str {
    match gateway.is_open() {
        true => "programs on this machine",
        false => "whoever has a token: `celeriac token new`",
    }
}

fn options(settings: &Settings) -> Result<Option<Options>, CliError> {
    let http = &settings.http;
    let Some(listen) = http.listen else {
        return Ok(None);
    };
    let is_embedded = settings.broker.starts_with("embedded:");
    Ok(Some(Options {
        listen,
        is_open: is_embedded && listen.ip().is_loopback() && !http.always_tokens,
        tls: tls(settings)?,
        origins: http.origins.clone(),
        connections: http.connections,
        streams: http.streams,
        body_bytes: http.body_bytes,
        wait: http.wait,
    }))
}

fn tls(settings: &Settings) -> Result<Option<TlsFiles>, CliError> {
    match (&settings.http.certificate, &settings.http.key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        })),
        (None, None) => Ok(None),
        _ => Err(CliError::usage(
            "`http.certificate` and `http.key` go together, and only one of them is set",
            "set both, or neither",
        )),
    }
}

/// Takes the certificate as it is now.
pub(crate) fn reload(gateway: &Gateway, out: &Output) {
    match gateway.reload() {
        Ok(true) => out.note("certificate reloaded"),
        Ok(false) => {}
        Err(error) => out.warn(&format!("{error}; the old one holds"), ""),
    }
}

impl From<GatewayError> for CliError {
    fn from(error: GatewayError) -> Self {
        let remedy = match &error {
            GatewayError::Listen { .. } => "choose another address with --http, or `--http off`",
            _ => "check `http.certificate` and `http.key`: both PEM, the key without a password",
        };
        Self::new(Exit::Failed, error.to_string(), remedy)
    }
}
