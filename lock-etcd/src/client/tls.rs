use std::fs;
use std::io::{self, Read, Write};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::endpoint::Endpoint;
use super::socket::Socket;

/// The certificates of TLS connections.
#[derive(Clone, Debug)]
pub(crate) struct Tls(Arc<ClientConfig>);

// The configuration does not change, so that a panic cannot leave it half changed.
impl UnwindSafe for Tls {}
impl RefUnwindSafe for Tls {}

impl Tls {
    /// Reads the certificates of the authorities, and the certificate and the key of this client, from PEM files.
    ///
    /// # Errors
    /// The reason as a text.
    pub(crate) fn new(ca: &Path, client: Option<(&Path, &Path)>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
        }
        if roots.is_empty() {
            return Err(format!("{} contains no certificate; give a PEM file", ca.display()));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let key_file = read(key)?;
                let private = PrivateKeyDer::from_pem_slice(&key_file)
                    .map_err(|error| format!("{}: {error}; give a private key as a PEM file", key.display()))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, private)
                    .map_err(|error| format!("{}: {error}", cert.display()))?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// Begins TLS on a connection. The handshake happens with the first write.
    pub(super) fn connect(&self, socket: Socket, endpoint: &Endpoint) -> io::Result<TlsSocket> {
        let name = ServerName::try_from(endpoint.host().to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        Ok(TlsSocket(StreamOwned::new(connection, socket)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}; give certificates as a PEM file", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A TLS connection.
#[derive(Debug)]
pub(super) struct TlsSocket(StreamOwned<ClientConnection, Socket>);

impl TlsSocket {
    pub(super) fn socket(&self) -> &Socket {
        &self.0.sock
    }

    pub(super) fn set_deadline(&mut self, deadline: Instant) {
        self.0.sock.set_deadline(deadline);
    }
}

impl Read for TlsSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for TlsSocket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
