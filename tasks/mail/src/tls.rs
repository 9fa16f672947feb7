//! TLS inside the guest: the host sees bytes that it cannot read.

use std::net::TcpStream;
use std::sync::Arc;

use celeriac_guest::Failure;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::settings::Settings;

/// An encrypted connection.
pub(crate) type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// Encrypts a connection with the server of the settings, which must prove that it is that one.
pub(crate) fn encrypt(settings: &Settings, stream: TcpStream) -> Result<Encrypted, Failure> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.into(),
    };
    if let Some(authority) = &settings.authority {
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            let added = certificate.map(|certificate| roots.add(certificate));
            if !matches!(added, Ok(Ok(()))) {
                return Err(Failure::new(
                    "configuration",
                    "`SMTP_CA` is no certificate in PEM form",
                ));
            }
        }
    }
    let provider = Arc::new(rustls_rustcrypto::provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(settings.host.clone())?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = stream;
    connection
        .complete_io(&mut stream)
        .map_err(|error| failure(&error))?;
    Ok(StreamOwned::new(connection, stream))
}

/// A server that is not who it should be will not be another time.
fn failure(error: &std::io::Error) -> Failure {
    let failure = Failure::new("smtp-tls", format!("no secret connection: {error}"));
    let is_final = error
        .get_ref()
        .is_some_and(|cause| cause.is::<rustls::Error>());
    if is_final {
        failure
    } else {
        failure.retryable()
    }
}
