//! A daemon's part played by a test: it feeds a script into the shared memory of one server and
//! collects what comes out. Agreed time passes as fast as the server sleeps.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crane_core::id::{ConnId, Generation, NodeId};
use crane_core::wire::{Endpoint, EntryWriter, Founder, Genesis, HostFigures, Op, Schedule};
use crane_shm::region::{TROUBLE_BYTES, output, script};
use crane_shm::{DaemonSide, RingReader, RingWriter, ServerState};
use rustix::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The figures that each program sees.
pub(crate) const FIGURES: HostFigures = HostFigures { processors: 3, memory: 12 << 30 };

/// The limit of open files of each program.
const OPEN_FILES: u64 = 16 * 1024;

const START: u64 = 1_700_000_000_000_000_000;

/// An event that only the kernel knows comes within this time, if at all.
const OUTSIDE: Duration = Duration::from_secs(5);

/// One run.
pub(crate) struct Driver {
    region: DaemonSide,
    script: RingWriter,
    output: RingReader,
    child: Child,
    /// The pipe by which the server wakes the daemon; nobody reads it here.
    _wake: [OwnedFd; 2],
    slot: u64,
    timestamp: u64,
    grant: u32,
    /// Bytes written to the connection with this place's number, from 1.
    pub replies: Vec<Vec<u8>>,
    /// How far the server said that it has read, by connection, from 1.
    consumed: Vec<u64>,
    /// Texts for the daemon.
    pub notes: Vec<String>,
    /// Connections that were reset.
    pub resets: Vec<u64>,
    /// Ports listened at.
    pub listens: Vec<u16>,
    /// Each entry waits this long before it is fed.
    pub pause: Duration,
    /// The time that the server may take to rest or end.
    pub timeout: Duration,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The program's output.
    pub printed: String,
    /// Its exit code.
    pub code: Option<i32>,
    /// The clock at the end.
    pub clock: u64,
    /// The schedule and output hashes at the last slot that was fed before the end.
    pub hashes: (u64, u64),
    /// The reason for its end that the library left for the daemon.
    pub trouble: String,
    /// The library had the daemon end the program.
    pub refused: bool,
}

/// The probe, compiled once.
pub(crate) fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| compiled("probe"))
}

/// The programs that try corners of calls, compiled once.
pub(crate) fn corners() -> &'static [PathBuf; 2] {
    static CORNERS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    CORNERS.get_or_init(|| ["threads", "descriptors"].map(compiled))
}

/// The program that tries what calls refuse, and long messages, compiled once.
pub(crate) fn answers() -> &'static Path {
    static ANSWERS: OnceLock<PathBuf> = OnceLock::new();
    ANSWERS.get_or_init(|| compiled("answers"))
}

/// The program that asks about its host, compiled once.
pub(crate) fn host() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| compiled("host"))
}

/// The server that never accepts, compiled once.
pub(crate) fn backlog() -> &'static Path {
    static BACKLOG: OnceLock<PathBuf> = OnceLock::new();
    BACKLOG.get_or_init(|| compiled("backlog"))
}

/// A program of `tests/programs`, with the compiler's checks that turn some calls into others
/// (`read` into `__read_chk`).
fn compiled(name: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let result = Command::new("gcc")
        .args(["-O1", "-Wall", "-Wno-unused-function", "-Wno-unused-variable"])
        .args(["-D_FORTIFY_SOURCE=2", "-pthread", "-o"])
        .args([&program, &sources.join(name).with_extension("c")])
        .status()
        .expect("gcc is installed (ci/setup)");
    assert!(result.success(), "{name}.c compiles");
    program
}

/// The library in front of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Library {
    /// The product's.
    Product,
    /// The control: ops are admitted when they arrive.
    OnArrival,
}

impl Library {
    /// Returns its path.
    fn path(self) -> &'static Path {
        static PRODUCT: OnceLock<PathBuf> = OnceLock::new();
        static ON_ARRIVAL: OnceLock<PathBuf> = OnceLock::new();
        match self {
            Self::Product => PRODUCT.get_or_init(|| built("library", &[])),
            Self::OnArrival => {
                ON_ARRIVAL.get_or_init(|| built("arrival", &["--features", "arrival"]))
            }
        }
    }
}

/// A library, built into a folder of its own: cargo does not build a cdylib for tests by itself.
fn built(name: &str, features: &[&str]) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let result = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--locked", "--manifest-path"])
        .arg(manifest)
        .args(features)
        .arg("--target-dir")
        .arg(&place)
        // As crane-linux builds it, and with the tables checked after each change.
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
        .status()
        .unwrap();
    assert!(result.success(), "the library builds");
    place.join("release/libcrane_preload.so")
}

/// Makes a pipe at which nobody waits.
fn pipe() -> [OwnedFd; 2] {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors to a live array of two.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    assert_eq!(made, 0);
    // SAFETY: both were just opened and belong to nobody else.
    ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) })
}

/// Gives a program descriptors as a cell does: from its limit of open files on.
fn give(descriptors: [RawFd; 2]) -> io::Result<()> {
    // The hard limit has room for what the library adds.
    let set = |value| {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: OPEN_FILES + 5 };
        // SAFETY: the kernel reads from a live structure.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0 }
    };
    let copy = |(descriptor, number): (RawFd, u64)| {
        // SAFETY: dup2 touches no memory.
        unsafe { libc::dup2(descriptor, number as RawFd) >= 0 }
    };
    match set(OPEN_FILES + 2)
        && descriptors.into_iter().zip(OPEN_FILES..).all(copy)
        && set(OPEN_FILES)
    {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

impl Driver {
    /// Starts the probe with these arguments; its replica is node 1.
    pub(crate) fn start(
        arguments: &[&str],
        quantum: u32,
        schedule: Schedule,
        library: Library,
    ) -> Self {
        Self::start_program(probe(), arguments, quantum, schedule, library)
    }

    /// As [`Driver::start`], of another program.
    pub(crate) fn start_program(
        program: &Path,
        arguments: &[&str],
        quantum: u32,
        schedule: Schedule,
        library: Library,
    ) -> Self {
        let first = (script::GENESIS, Duration::ZERO);
        Self::start_script(first, program, arguments, quantum, schedule, library)
    }

    /// As [`Driver::start_program`], with a script whose first record is of this kind, and comes
    /// so much later than the program begins.
    pub(crate) fn start_script(
        (first, delay): (u32, Duration),
        program: &Path,
        arguments: &[&str],
        quantum: u32,
        schedule: Schedule,
        library: Library,
    ) -> Self {
        let (region, memory) = DaemonSide::create(1, 1).unwrap();
        let wake = pipe();
        // SAFETY: one driver owns the daemon's ends.
        let (mut script, output) = unsafe { region.ends() };
        let genesis = Genesis {
            group: 7,
            members: Default::default(),
            base: [0; 32],
            seed: [9; 32],
            timestamp: START,
            quantum,
            nclock: 1000,
            schedule,
            service: Default::default(),
            figures: FIGURES,
        };
        let mut genesis = genesis;
        let founder = Founder { address: "127.0.0.1:1".try_into().unwrap(), witness: false };
        genesis.members.push(founder).unwrap();
        let mut space = [0; 4096];
        let length = genesis.encode(&mut space).unwrap();
        let mut push = || script.push(first, [1, 1, 0], &[&space[..length]]).unwrap();
        if delay.is_zero() {
            push();
        }
        let given = [memory.as_raw_fd(), wake[1].as_raw_fd()];
        let mut command = Command::new(program);
        // SAFETY: only system calls are made between fork and exec, and nothing is allocated.
        unsafe { command.pre_exec(move || give(given)) };
        let child = command
            .args(arguments)
            .env("LD_PRELOAD", library.path())
            .env("CRANE_REGION", OPEN_FILES.to_string())
            .env("CRANE_WAKE", (OPEN_FILES + 1).to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        if !delay.is_zero() {
            std::thread::sleep(delay);
            push();
            region.ring_script();
        }
        Self {
            region,
            script,
            output,
            child,
            _wake: wake,
            slot: 1,
            timestamp: START,
            grant: 1000,
            replies: Vec::new(),
            consumed: Vec::new(),
            notes: Vec::new(),
            resets: Vec::new(),
            listens: Vec::new(),
            pause: Duration::ZERO,
            timeout: Duration::from_secs(60),
        }
    }

    /// A client's connection by this replica.
    pub(crate) fn conn(number: u64) -> ConnId {
        ConnId { entry: NodeId::new(1).unwrap(), generation: Generation(1), number }
    }

    /// A client connects to the probe's port.
    pub(crate) fn connect(number: u64) -> Op<'static> {
        let local = Endpoint::from_ipv4([127, 0, 0, 1], 7777);
        let peer = Endpoint::from_ipv4([127, 0, 0, 9], 4000_u16.wrapping_add(number as u16));
        Op::Connect { conn: Self::conn(number), local, peer }
    }

    /// Appends an entry to the script.
    pub(crate) fn feed(&mut self, ops: &[Op<'_>]) {
        std::thread::sleep(self.pause);
        let mut space = vec![0; 65536];
        let mut entry = EntryWriter::new(&mut space).unwrap();
        ops.iter().for_each(|op| entry.push(op).unwrap());
        self.slot += 1;
        self.timestamp += 1000;
        let bytes = entry.finish(self.timestamp, self.grant);
        self.script.push(script::ENTRY, [self.slot, 0, 0], &[bytes]).unwrap();
        self.region.ring_script();
    }

    /// Appends a record that no daemon writes, and waits for the server's end.
    pub(crate) fn feed_nonsense(&mut self) {
        self.script.push(99, [0; 3], &[]).unwrap();
        self.region.ring_script();
        let since = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < self.timeout, "the server lives");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Begins a generation: clients of the one before are reset.
    pub(crate) fn begin_generation(&mut self, generation: u64) {
        self.region.set_first_generation(generation);
    }

    /// How far the server said that it has read a connection.
    pub(crate) fn consumed(&self, number: u64) -> u64 {
        self.consumed.get(number as usize - 1).copied().unwrap_or(0)
    }

    /// How many connections the server's tables refused.
    pub(crate) fn refused_connections(&self) -> u64 {
        self.region.refused_connections()
    }

    fn collect(&mut self) {
        self.region.hear_wake();
        while let Some(record) = self.output.peek().unwrap() {
            let number = record.numbers[0] as usize;
            match record.kind {
                output::DATA => {
                    self.replies.resize(self.replies.len().max(number), Vec::new());
                    self.replies[number - 1].extend_from_slice(record.bytes);
                }
                output::CONSUMED => {
                    self.consumed.resize(self.consumed.len().max(number), 0);
                    self.consumed[number - 1] = record.numbers[2];
                }
                output::NOTE => self.notes.push(String::from_utf8_lossy(record.bytes).into()),
                output::RESET => self.resets.push(record.numbers[0]),
                output::LISTEN => self.listens.push(number as u16),
                _ => {}
            }
            self.output.pop();
        }
        self.region.ring_output();
    }

    /// Grants and lets deadlines pass until the server is quiescent and waits for ops, or has
    /// ended.
    pub(crate) fn settle(&mut self) -> bool {
        let since = Instant::now();
        loop {
            self.collect();
            if self.child.try_wait().unwrap().is_some() {
                self.collect();
                return false;
            }
            let region = self.region;
            let current = region.admitted() == self.slot;
            match region.state() {
                ServerState::Stalled if current => self.feed(&[]),
                ServerState::Quiescent if current => {
                    let deadline = region.deadline();
                    if deadline == u64::MAX {
                        self.collect();
                        return true;
                    }
                    self.timestamp = self.timestamp.max(deadline);
                    self.feed(&[Op::Time]);
                }
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
            assert!(since.elapsed() < self.timeout, "the server neither rests nor ends");
        }
    }

    /// Feeds time until the server ends.
    pub(crate) fn await_end(&mut self) {
        let since = Instant::now();
        while self.settle() {
            // It may wait for what only the kernel knows, as a child's end.
            assert!(since.elapsed() < OUTSIDE, "the server waits for ops instead of ending");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the server end.
    pub(crate) fn end(mut self) -> End {
        self.await_end();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let code = self.child.wait().unwrap().code();
        let clock = self.region.clock();
        let last = self.region.admitted();
        let hashes = self.region.mark(last).map_or((0, 0), |mark| (mark.schedule, mark.output));
        let mut space = [0; TROUBLE_BYTES];
        let trouble = self.region.trouble(&mut space);
        let trouble = String::from_utf8(trouble.to_vec()).unwrap();
        End { printed, code, clock, hashes, trouble, refused: self.region.end_reason().is_some() }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
