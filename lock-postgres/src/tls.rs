use std::path::PathBuf;
use std::str::FromStr;

#[cfg(not(feature = "tls"))]
use lock_core::Error;
use lock_core::{Options, Result};

use crate::server::{Host, Server};

/// How connections are encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsOptions {
    mode: Option<Mode>,
    /// The file with the certificates of authorities, instead of those of the system.
    authorities: Option<PathBuf>,
}

/// The option `sslmode`, with the values of libpq that say what they do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// No encryption.
    Disable,
    /// Encryption, and the certificate of the server is checked with its name.
    VerifyFull,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "disable" => Ok(Self::Disable),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err("it is `disable` or `verify-full`; the other modes of libpq do not check who answers"),
        }
    }
}

impl TlsOptions {
    pub(crate) fn take(options: &mut Options<'_>) -> Result<Self> {
        Ok(Self { mode: options.take("sslmode")?, authorities: options.take("sslrootcert")? })
    }

    /// Returns the mode for a server. Connections that leave the machine are encrypted unless the URL says otherwise.
    pub(crate) fn mode(&self, server: &Server) -> Mode {
        let is_local = match &server.host {
            Host::Directory(_) => true,
            Host::Name(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        };
        self.mode.unwrap_or(if is_local { Mode::Disable } else { Mode::VerifyFull })
    }
}

/// Returns the error for a connection that would have to be encrypted.
#[cfg(not(feature = "tls"))]
pub(crate) fn missing(server: &Server) -> Error {
    Error::unsupported(format!(
        "the connection to {server} has to be encrypted, and this program was built without the feature tls of lock-postgres; \
         enable it, or write sslmode=disable if you trust the network"
    ))
}

#[cfg(feature = "tls")]
pub(crate) use self::encrypted::{Encrypted, connect};

#[cfg(feature = "tls")]
mod encrypted {
    use std::fmt;
    use std::io::{self, Read, Write};
    use std::sync::Arc;

    use bytes::BytesMut;
    use lock_core::{Error, Result};
    use postgres_protocol::message::frontend;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::TlsOptions;
    use crate::password::read_file;
    use crate::server::{Host, Server};
    use crate::socket::Socket;

    /// A socket with TLS.
    pub(crate) struct Encrypted {
        socket: Socket,
        tls: ClientConnection,
    }

    /// Asks the server for TLS, and checks its certificate.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](lock_core::ErrorKind::Denied) if the server has no TLS or a certificate that is not accepted.
    pub(crate) fn connect(server: &Server, options: &TlsOptions, socket: Socket) -> Result<Encrypted> {
        let lost = |error: io::Error| Error::unreachable(server.to_string(), error.to_string());
        let denied = |reason: String| Error::denied(server.to_string(), reason);
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        socket.send(&request).map_err(lost)?;
        let mut answer = [0];
        // One byte at a time, so that nothing that was sent in the clear is taken for a part of the encrypted stream.
        if socket.receive(&mut answer, true).map_err(lost)? != 1 || answer != *b"S" {
            return Err(denied(
                "it has no TLS; configure it there, or write sslmode=disable if you trust the network".to_owned(),
            ));
        }
        let Host::Name(name) = &server.host else { return Err(denied("a Unix socket has no TLS; remove sslmode".to_owned())) };
        let name =
            ServerName::try_from(name.clone()).map_err(|error| denied(format!("its name is not valid for TLS: {error}")))?;
        let tls = ClientConnection::new(Arc::new(config(server, options)?), name)
            .map_err(|error| denied(format!("TLS cannot begin: {error}")))?;
        let mut encrypted = Encrypted { socket, tls };
        encrypted.shake_hands().map_err(|error| {
            match error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
                true => denied(format!("TLS failed: {error}; check its certificate and the option sslrootcert")),
                false => lost(error),
            }
        })?;
        Ok(encrypted)
    }

    fn config(server: &Server, options: &TlsOptions) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &options.authorities {
            Some(path) => {
                for certificate in CertificateDer::pem_slice_iter(&read_file(path)?) {
                    let added = certificate.map_err(|error| error.to_string());
                    let added = added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
                    added.map_err(|error| {
                        Error::denied(
                            server.to_string(),
                            format!("{} is not a certificate: {error}; give a PEM file", path.display()),
                        )
                    })?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::denied(server.to_string(), format!("TLS cannot begin: {error}")))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    impl Encrypted {
        pub(crate) fn socket(&self) -> Socket {
            self.socket.clone()
        }

        pub(crate) fn keep(&mut self) {
            self.socket.keep();
        }

        fn shake_hands(&mut self) -> io::Result<()> {
            while self.tls.is_handshaking() {
                self.flush()?;
                if self.tls.wants_read() {
                    self.pull(true)?;
                }
            }
            self.flush()
        }

        fn flush(&mut self) -> io::Result<()> {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut Sender(&self.socket))?;
            }
            Ok(())
        }

        /// Receives and decrypts. Returns false at the end of the connection.
        fn pull(&mut self, may_block: bool) -> io::Result<bool> {
            let received = self.tls.read_tls(&mut Receiver(&self.socket, may_block))?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
            Ok(received != 0)
        }

        pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.tls.writer().write_all(bytes)?;
            self.flush()
        }

        pub(crate) fn receive(&mut self, buffer: &mut [u8], may_block: bool) -> io::Result<usize> {
            loop {
                match self.tls.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if !self.pull(may_block)? {
                            return Ok(0);
                        }
                        self.flush()?;
                    }
                    received => return received,
                }
            }
        }
    }

    impl fmt::Debug for Encrypted {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Encrypted").field("socket", &self.socket).finish_non_exhaustive()
        }
    }

    struct Sender<'a>(&'a Socket);

    impl Write for Sender<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Receiver<'a>(&'a Socket, bool);

    impl Read for Receiver<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.receive(buffer, self.1)
        }
    }
}
