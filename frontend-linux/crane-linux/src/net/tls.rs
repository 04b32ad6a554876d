//! Mutual TLS 1.3 (RFC 8446) between replicas, and for questions: both sides show certificates of
//! one authority, and each learns whom the other's names.
//!
//! No session is resumed, and no byte is taken before the handshake is done (0-RTT): a first flight
//! that is sent again leads nowhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::{info, warn};

use crate::keys::file::KeyFile;
use crate::keys::subject::{MEMBER_DNS, Subject};

use super::explain::explained;
use super::wire::Wire;

/// The time limit for a connection to another replica to be established.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The time limit for a handshake with another replica.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// How often a running replica looks whether its key file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How replicas, and those who ask them, know each other.
#[derive(Clone)]
pub(crate) enum Access {
    /// By certificates.
    Keys(Arc<KeyRing>),
    /// Not at all: `--insecure-peers`.
    Insecure,
}

impl Access {
    /// Returns the access by a key file.
    ///
    /// # Errors
    /// Returns what is wrong with the file, and the remedy.
    pub(crate) fn by_keys(path: &Path) -> Result<Self, String> {
        KeyRing::open(path).map(|ring| Self::Keys(Arc::new(ring)))
    }

    /// Returns this side's identity, if it has keys.
    pub(crate) fn identity(&self) -> Option<Arc<Identity>> {
        match self {
            Self::Keys(ring) => Some(ring.current()),
            Self::Insecure => None,
        }
    }

    /// Returns the path of the key file, if there is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Keys(ring) => Some(&ring.path),
            Self::Insecure => None,
        }
    }

    /// Takes new keys whenever the key file is replaced. Ends only if there is none.
    pub(crate) async fn keep_current(self) {
        while let Self::Keys(ring) = &self {
            sleep(LOOK_EVERY).await;
            let ring = ring.clone();
            // A hung disk must hold up no link.
            let _ = spawn_blocking(move || ring.refresh()).await;
        }
    }

    /// Connects to the replica at an address, which must be the one of that name.
    ///
    /// # Errors
    /// Returns the stream's error, or why the replica is not trusted.
    pub(crate) async fn connect(&self, address: &str) -> io::Result<Wire> {
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await??;
        match self {
            Self::Insecure => Ok(Wire::plain(stream)),
            Self::Keys(ring) => {
                stream.set_nodelay(true)?;
                let identity = ring.current();
                timeout(HANDSHAKE_WITHIN, identity.connect(stream, address)).await?
            }
        }
    }

    /// Shakes hands with a stranger that has connected. The caller limits its time.
    ///
    /// # Errors
    /// Returns the stream's error, or why the stranger is not trusted.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Wire> {
        match self {
            Self::Insecure => Ok(Wire::plain(stream)),
            Self::Keys(ring) => ring.current().accept(stream).await,
        }
    }
}

/// A key file that may be replaced while the daemon runs.
pub(crate) struct KeyRing {
    path: PathBuf,
    state: Mutex<(Option<SystemTime>, Arc<Identity>)>,
}

impl KeyRing {
    fn open(path: &Path) -> Result<Self, String> {
        let changed = changed(path);
        let identity = Arc::new(Identity::of(KeyFile::read(path)?)?);
        Ok(Self { path: path.to_path_buf(), state: Mutex::new((changed, identity)) })
    }

    fn current(&self) -> Arc<Identity> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes what the file gives now, if it has changed. One that cannot be read leaves the former
    /// keys. Waits for the disk.
    fn refresh(&self) {
        let changed = changed(&self.path);
        let state = || self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.is_none() || state().0 == changed {
            return;
        }
        let read = KeyFile::read(&self.path).and_then(Identity::of);
        let mut state = state();
        state.0 = changed;
        match read {
            Ok(identity) => {
                info!("took new keys from {}", self.path.display());
                state.1 = Arc::new(identity);
            }
            Err(why) => warn!("{why}; the former keys stay in use"),
        }
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// A holder of keys, ready to shake hands.
pub(crate) struct Identity {
    /// The subject of its own certificate.
    pub subject: Subject,
    /// The end of its validity; `None` if it is not valid.
    pub valid_until: Option<SystemTime>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Identity {
    /// Prepares the configurations for both sides of a handshake.
    ///
    /// # Errors
    /// Returns what is wrong with the keys.
    pub(crate) fn of(file: KeyFile) -> Result<Self, String> {
        let valid_until = file.valid_until();
        let KeyFile { subject, chain, key, trusted } = file;
        let describe = |error: &dyn std::fmt::Display| format!("the keys cannot be used: {error}");
        let mut roots = RootCertStore::empty();
        for authority in trusted {
            roots.add(authority).map_err(|error| describe(&error))?;
        }
        let (roots, provider) = (Arc::new(roots), provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| describe(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| describe(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| describe(&error))?;
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| describe(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| describe(&error))?;
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        let (acceptor, connector) = (Arc::new(server).into(), Arc::new(client).into());
        Ok(Self { subject, valid_until, acceptor, connector })
    }

    /// Shakes hands as the side that connects, with the replica of this name.
    // specs: N1
    async fn connect(&self, stream: TcpStream, member: &str) -> io::Result<Wire> {
        let name = ServerName::try_from(MEMBER_DNS).expect("a constant name");
        let tls = self.connector.connect(name, stream).await.map_err(explained)?;
        let wire = Wire::tls(tls.into())?;
        match wire.subject() {
            Some(Subject::Member(name)) if name == member => Ok(wire),
            other => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{member} shows the certificate of {}; put the right key file there",
                    other.map_or_else(|| "nobody".to_string(), ToString::to_string)
                ),
            )),
        }
    }

    /// Shakes hands as the side that is connected to.
    // specs: N1
    async fn accept(&self, stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        let tls = self.acceptor.accept(stream).await.map_err(explained)?;
        Wire::tls(tls.into())
    }
}

/// Returns ring's algorithms for TLS 1.3, the fastest on processors with AES first.
fn provider() -> Arc<CryptoProvider> {
    use ring::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() })
}
