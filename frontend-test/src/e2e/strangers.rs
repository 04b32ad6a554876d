//! Attackers at the port of the replicas and at the control socket: none may have an effect.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{SectionKind, from_buf};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::Serialize;

use super::group::Group;
use super::keys::Keys;
use super::status::{ReplicaStatus, Status};
use super::wait::ANSWER;

/// The memory by which a daemon may grow under attack.
pub const GROWTH_KIB_MAX: u64 = 32 * 1024;
/// The time limit for a replica's answer to an attacker.
const WAIT: Duration = Duration::from_secs(3);
/// The kind of a frame that is a hello.
pub const HELLO: u8 = 1;
/// The kind of a frame that is a question.
pub const QUERY: u8 = 5;

/// An encrypted stream to a replica.
pub type Tls = StreamOwned<ClientConnection, Recorded>;

/// A stream that keeps what was written to it.
pub struct Recorded {
    stream: TcpStream,
    /// The bytes that were written.
    pub written: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.stream.read(space)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.stream.write(bytes)?;
        self.written.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects to a replica.
///
/// # Errors
///
/// Returns the system's error.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Prepares to shake hands with a replica, as an authority of the key file `trusts` vouches for it,
/// with the certificate of the key file `shows`, or none. Nothing is sent yet.
///
/// # Errors
///
/// Returns the error of connecting.
///
/// # Panics
///
/// Panics if a key file is malformed.
pub fn tls(address: SocketAddr, trusts: &Path, shows: Option<&Path>) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    for authority in sections(trusts).2 {
        roots.add(authority).expect("an authority");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(path) => {
            let (chain, key, _) = sections(path);
            config.with_client_auth_cert(chain, key.expect("a key")).expect("a key file")
        }
    };
    let name = ServerName::try_from("member.crane.internal").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let stream = Recorded { stream: connect(address)?, written: Vec::new() };
    Ok(StreamOwned::new(connection, stream))
}

type Sections =
    (Vec<CertificateDer<'static>>, Option<PrivateKeyDer<'static>>, Vec<CertificateDer<'static>>);

/// Returns the holder's certificates, its key, and the authorities of a key file.
fn sections(path: &Path) -> Sections {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rest, mut found): (&[u8], Sections) = (&text, (Vec::new(), None, Vec::new()));
    while let Some((kind, bytes)) = from_buf(&mut rest).expect("PEM") {
        match kind {
            SectionKind::PrivateKey => {
                found.1 = Some(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(bytes)));
            }
            _ if found.1.is_none() => found.0.push(CertificateDer::from(bytes)),
            _ => found.2.push(CertificateDer::from(bytes)),
        }
    }
    found
}

/// Returns a frame with a body of this kind.
#[must_use]
pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let body = [&[kind], body].concat();
    let length = u32::try_from(body.len()).expect("a short body");
    [&length.to_le_bytes()[..], &crc32fast::hash(&body).to_le_bytes(), &body].concat()
}

/// Returns the beginning of a frame of 1 GiB.
#[must_use]
pub fn endless_frame() -> Vec<u8> {
    [&(1u32 << 30).to_le_bytes()[..], &[0; 4], &[7; 4096]].concat()
}

/// Returns a question for the state, as a frame.
#[must_use]
pub fn status_question() -> Vec<u8> {
    frame(QUERY, &[0, 0])
}

/// Returns an order to remove a member, as a frame.
#[must_use]
pub fn removal(member: u8) -> Vec<u8> {
    frame(QUERY, &[5, member, 0])
}

/// A hello as a replica sends it.
#[derive(Clone, Debug, Serialize)]
pub struct ForgedHello {
    /// The first bytes.
    pub magic: [u8; 4],
    /// The version of the protocol.
    pub version: u32,
    /// The sender's number.
    pub node: u8,
    /// The sender's address.
    pub address: String,
    /// The receiver's number.
    pub to: u8,
    /// The sender's generation.
    pub generation: u64,
    /// The sender's group.
    pub group: Option<u128>,
    /// Whether it has reached the group.
    pub joined: bool,
    /// The slot of the last change, and the members: number, address, whether a witness.
    pub roster: (u64, Vec<(u8, String, bool)>),
    /// Whether it is a witness.
    pub witness: bool,
    /// Its priority.
    pub priority: u32,
    /// The incarnation of its program.
    pub program_since: u32,
    /// Its base.
    pub base: Vec<(String, [u8; 16])>,
}

impl ForgedHello {
    /// Returns a hello of a witness whose list of members is as of slot 2^62, and lacks the
    /// receiver.
    #[must_use]
    pub fn of_the_far_future(version: u32, group: u128, sender: (u8, &str), to: u8) -> Self {
        let (node, address) = sender;
        Self {
            magic: *b"CRNE",
            version,
            node,
            address: address.to_owned(),
            to,
            generation: u64::MAX >> 1,
            group: Some(group),
            joined: true,
            roster: (1 << 62, vec![(node, address.to_owned(), false)]),
            witness: true,
            priority: 1,
            program_since: 1,
            base: Vec::new(),
        }
    }

    /// Returns the hello as a frame.
    ///
    /// # Panics
    ///
    /// Panics never: the value is plain data.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut space = [0; 4096];
        frame(HELLO, postcard::to_slice(self, &mut space).expect("plain data"))
    }
}

/// Writes bytes, and returns what the other side answers until it closes the stream or is silent.
pub fn answer_to<S: Read + Write>(stream: &mut S, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if stream.write_all(bytes).and_then(|()| stream.flush()).is_ok() {
        let (mut space, begun) = ([0; 4096], Instant::now());
        // A link that is kept never ends.
        while begun.elapsed() < ANSWER
            && let Ok(length @ 1..) = stream.read(&mut space)
        {
            answer.extend_from_slice(&space[..length]);
        }
    }
    answer
}

/// The places that an attacker knows.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The ports of the replicas.
    pub peers: Vec<SocketAddr>,
    /// The control sockets.
    pub control: Vec<PathBuf>,
    /// A key file of another group.
    pub foreign: PathBuf,
}

impl Targets {
    /// Returns the ports and control sockets of all replicas of a group.
    #[must_use]
    pub fn of(group: &Group, foreign: &Keys) -> Self {
        Self {
            peers: group.ids().map(|id| group.peer_address(id)).collect(),
            control: group.ids().map(|id| group.data(id).join("run/control.sock")).collect(),
            foreign: foreign.operator(),
        }
    }
}

/// Returns how many connections of strangers, at ports and control sockets, all replicas have
/// counted.
#[must_use]
pub fn counted(status: &Status) -> u64 {
    let ports = ["untrusted", "too_slow", "displaced", "too_many", "silent"];
    let names = [&ports[..], &["control_refused", "control_malformed"]].concat();
    let counts = |replica: &ReplicaStatus| {
        names.iter().map(|name| replica.strangers[*name].as_u64().unwrap_or(0)).sum::<u64>()
    };
    status.replicas.iter().map(counts).sum()
}

/// Checks that a group is as it was: the same processes, primary, ballot and members.
///
/// # Errors
///
/// Returns the difference.
pub fn unmoved(before: &Status, after: &Status) -> Result<(), String> {
    let sign = |status: &Status| {
        let of = |it: &ReplicaStatus| {
            (it.id, it.daemon_pid, it.server_pid, it.ballot.clone(), it.member.clone())
        };
        status.replicas.iter().map(of).collect::<Vec<_>>()
    };
    let (before, after) = (sign(before), sign(after));
    if before == after { Ok(()) } else { Err(format!("{before:?} became {after:?}")) }
}

/// Attacks until the time is over, with a bounded number of open connections. Returns the number of
/// connections that were made.
pub fn attack(targets: &Targets, time: Duration, mut seed: u64) -> u64 {
    let (start, mut kept, mut made) = (Instant::now(), Vec::new(), 0);
    let hello = ForgedHello::of_the_far_future(11, 1 << 100, (1, "10.79.0.1:6790"), 2).frame();
    let first = first_flight(&targets.foreign);
    while start.elapsed() < time {
        let random = next(&mut seed);
        let length = 1 + (random >> 32) as usize % 4000;
        let mut noise: Vec<u8> = (0..length).map(|_| next(&mut seed) as u8).collect();
        // No order: the owner of a control socket may give any.
        noise[0] |= 0x40;
        let address = targets.peers[random as usize % targets.peers.len()];
        let mut send = |bytes: &[u8]| {
            let mut stream = connect(address).ok()?;
            made += 1;
            let _ = stream.write_all(bytes);
            Some(stream)
        };
        match random >> 16 & 7 {
            0 | 1 => {
                kept.extend(send(&first[..first.len() / 2]));
                if kept.len() == 500 {
                    kept.drain(..250);
                }
            }
            2 => drop(send(&noise)),
            3 => drop(send(&first)),
            4 => drop(send(&[&[22, 3, 1, 0x40, 0][..], &noise].concat())),
            5 => drop(send(&endless_frame())),
            6 => drop(send(&hello)),
            _ => {
                let place = random as usize % targets.control.len().max(1);
                let stream = targets.control.get(place).map(UnixStream::connect);
                if let Some(Ok(mut stream)) = stream {
                    made += 1;
                    let bytes =
                        if random & 64 == 0 { endless_frame() } else { frame(QUERY, &noise) };
                    let _ = stream.write_all(&bytes);
                }
            }
        }
    }
    made
}

/// Returns the first bytes that a holder of another group's keys sends.
fn first_flight(foreign: &Path) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    let mut stream = tls(address, foreign, Some(foreign)).expect("a listener");
    let mut bytes = Vec::new();
    stream.conn.write_tls(&mut bytes).expect("a first flight");
    bytes
}

/// Returns the next number of a sequence (xorshift64, Marsaglia 2003).
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}
