//! TLS to servers that guests talk to: verified with the system's roots, and by no option not verified.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

use super::destination::Host;

/// The one TLS configuration of an engine, made at the first connection: reading the system's roots takes
/// some milliseconds.
#[derive(Default)]
pub(crate) struct Tls(OnceCell<TlsConnector>);

impl Tls {
    /// Shakes hands with a server that must be `host`.
    pub(crate) async fn connect(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Error> {
        let name = match host {
            Host::Name(name) => {
                ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?
            }
            Host::Address(address) => ServerName::from(*address),
        };
        let connector = self.0.get_or_try_init(connector).await?;
        connector
            .connect(name, stream)
            .await
            .map_err(|error| handshake_error(&error))
    }
}

/// `SSL_CERT_FILE` and `SSL_CERT_DIR` count, as everywhere.
async fn connector() -> Result<TlsConnector, Error> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs)
        .await
        .map_err(|error| Error::InternalError(Some(error.to_string())))?;
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::error!(
            errors = ?found.errors,
            "there are no root certificates, so that no HTTPS request can succeed: install them (Debian: \
             ca-certificates) or set SSL_CERT_FILE"
        );
        return Err(Error::TlsCertificateError);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::InternalError(Some(error.to_string())))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn handshake_error(error: &io::Error) -> Error {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Error::TlsCertificateError
        }
        Some(rustls::Error::AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: Some(format!("{alert:?}")),
        },
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}
