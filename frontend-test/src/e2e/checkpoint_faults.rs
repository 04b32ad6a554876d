//! Faults at random moments of the ways that checkpoints go: while a server is held and dumped,
//! a checkpoint is proved, the log is cut, a checkpoint goes to another replica, a server is
//! restored.
//!
//! Nothing that was answered may be lost, and the group must be healthy again by itself, once the
//! daemons that were killed are started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::binary::crane_linux;
use super::group::{Group, kill};
use super::machine::Machine;
use super::program;
use super::resp::{Connection, Reply};
use super::small_disk::SmallDisk;
use super::wait::{ANSWER, START, within};

/// A way that checkpoints go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The server is held and dumped.
    Take,
    /// The checkpoint is proved, and the log cut.
    Prove,
    /// A wiped replica receives a checkpoint.
    Transfer,
    /// A killed replica returns.
    Restore,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The replica is killed with its server.
    KillReplica,
    /// CRIU is killed, if it runs.
    KillCriu,
    /// The other backup is killed.
    KillPeer,
    /// The other backup hangs for a while.
    HangPeer,
    /// A byte of a file of the newest checkpoint is another one.
    FlipByte,
    /// A file of the newest checkpoint has lost its end, as after a loss of power.
    LoseEnd,
    /// The disk of the replica is full for a while.
    FillDisk,
}

const WAYS: [Way; 4] = [Way::Take, Way::Prove, Way::Transfer, Way::Restore];
const FAULTS: [Fault; 7] = [
    Fault::KillReplica,
    Fault::KillCriu,
    Fault::KillPeer,
    Fault::HangPeer,
    Fault::FlipByte,
    Fault::LoseEnd,
    Fault::FillDisk,
];
/// The size of the disk of the replica with the faults.
const DISK_MEBIBYTES: u32 = 400;
/// The requests that make a proof possible.
const REQUESTS: usize = 700;
/// The keys in the server.
const KEYS: usize = 200;

/// The outcome of one fault.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The fault, and where it struck.
    pub what: String,
    /// Whether there was something to strike.
    pub struck: bool,
    /// The reason why a person was needed, if one was.
    pub refusal: Option<String>,
}

/// Lets so many faults strike a group with redis, whose seed makes them reproducible but for their
/// moments. `said` gets each outcome.
///
/// # Panics
///
/// Panics if an answer is wrong: something committed was lost.
pub fn run(faults: usize, seed: u64, mut said: impl FnMut(&Outcome)) -> Vec<Outcome> {
    let machine = Machine::take("checkpoint-faults");
    let mut program = program::redis(machine.folder());
    // Its files are small: the disk is for checkpoints.
    let append = program.command.iter().position(|word| word == "yes").expect("--appendonly yes");
    program.command[append] = "no".to_string();
    let mut group = Group::prepare(&machine, program, 3, &[]);
    let place = group.data(3);
    let Some(_disk) = SmallDisk::mount(&place, DISK_MEBIBYTES) else { return Vec::new() };
    group.start_all();
    let mut trial = Trial { group, random: seed | 1, count: 0, connection: None };
    for key in 0..KEYS {
        let key = format!("key {key}");
        trial.call(&[b"SET", key.as_bytes(), &[b'x'; 1000]]);
    }
    // The way of a transfer needs a cut.
    trial.prepare_cut();
    let mut outcomes = Vec::new();
    for number in 0..faults {
        let way = WAYS[number % WAYS.len()];
        let fault = FAULTS[trial.below(FAULTS.len() as u64) as usize];
        let outcome = trial.strike(way, fault);
        said(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

/// A group under faults. Replica 3 is the one with the small disk, which they strike.
struct Trial {
    group: Group,
    random: u64,
    /// The number of answered increments.
    count: i64,
    /// The connection through the primary, with its number.
    connection: Option<(u8, Connection)>,
}

/// The replica that the faults strike, and the one through which clients ask.
const STRUCK: u8 = 3;

impl Trial {
    /// Returns a random number below a limit (Knuth's multiplier, for MMIX).
    fn below(&mut self, limit: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.random >> 33) % limit
    }

    fn primary_but_not_struck(&self) -> u8 {
        let primary = self.group.primary();
        if primary == STRUCK {
            let data = self.group.data(1).display().to_string();
            let words = ["primary", "move", "--to", "1", "--data-dir", &data];
            let output =
                super::binary::run_bounded(&words.map(String::from), &self.group.program().base);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return 1;
        }
        primary
    }

    fn peer(&self, primary: u8) -> u8 {
        self.group.ids().find(|id| *id != STRUCK && *id != primary).expect("three replicas")
    }

    /// Returns the connection through the primary, which no fault strikes.
    fn connection(&mut self) -> &mut Connection {
        let primary = self.primary_but_not_struck();
        self.connection.take_if(|(through, _)| *through != primary);
        let address = self.group.address(primary);
        let open = || (primary, Connection::open(address, ANSWER).expect("a connection"));
        &mut self.connection.get_or_insert_with(open).1
    }

    fn call(&mut self, words: &[&[u8]]) -> Reply {
        self.connection().call(words).expect("an answer")
    }

    /// Makes requests. Each answer shows that no earlier one was lost.
    fn ask(&mut self, times: usize) {
        let mut count = self.count;
        let connection = self.connection();
        for _ in 0..times {
            count += 1;
            let reply = connection.call(&[b"INCR", b"count"]).expect("an answer");
            assert_eq!(reply, Reply::Number(count), "an answer was lost, or a request doubled");
        }
        self.count = count;
    }

    fn take(&self, id: u8) -> Child {
        let data = self.group.data(id);
        Command::new(crane_linux())
            .args(["checkpoint", "now"])
            .arg(data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("crane-linux")
    }

    /// Takes and proves a checkpoint of both backups, so that the log is cut.
    fn prepare_cut(&mut self) {
        let primary = self.primary_but_not_struck();
        for id in [self.peer(primary), STRUCK] {
            self.take(id).wait().expect("crane-linux");
            let proved = within(START, || {
                self.ask(REQUESTS);
                let checkpoint = self.group.status()?.replica(id).checkpoint.clone();
                match checkpoint["proved"].is_u64() && checkpoint["proved"] == checkpoint["newest"]
                {
                    true => Ok(()),
                    false => Err(checkpoint.to_string()),
                }
            });
            proved.expect("a proof");
        }
    }

    fn strike(&mut self, way: Way, fault: Fault) -> Outcome {
        let primary = self.primary_but_not_struck();
        let peer = self.peer(primary);
        self.ask(20);
        let after = Duration::from_millis(match way {
            Way::Take => self.below(250),
            Way::Prove => self.below(1500),
            Way::Transfer | Way::Restore => self.below(500),
        });
        let damages = matches!(fault, Fault::FlipByte | Fault::LoseEnd);
        let mut struck = false;
        let mut order = None;
        match way {
            Way::Take => order = Some(self.take(STRUCK)),
            Way::Prove => {
                self.take(STRUCK).wait().expect("crane-linux");
                self.ask(REQUESTS);
            }
            Way::Transfer => {
                self.group.kill(STRUCK);
                clear(&self.group.data(STRUCK));
                self.group.start_replica(STRUCK);
            }
            Way::Restore => {
                self.group.kill(STRUCK);
                if damages {
                    struck = self.damage(fault);
                }
                self.ask(20);
                self.group.start_replica(STRUCK);
            }
        }
        sleep(after);
        let data = self.group.data(STRUCK);
        match fault {
            Fault::KillReplica => {
                self.group.kill(STRUCK);
                self.ask(5);
                self.group.start_replica(STRUCK);
                struck = true;
            }
            Fault::KillCriu => {
                let criu = self.group.daemon(STRUCK).and_then(criu_below);
                struck = criu.is_some_and(|process| kill(process).is_ok());
            }
            Fault::KillPeer => {
                self.group.kill(peer);
                sleep(Duration::from_millis(300));
                self.group.start_replica(peer);
                struck = true;
            }
            Fault::HangPeer => {
                self.group.freeze(peer, true);
                sleep(Duration::from_millis(1500));
                self.group.freeze(peer, false);
                struck = true;
            }
            Fault::FlipByte | Fault::LoseEnd => struck |= self.damage(fault),
            Fault::FillDisk => {
                let filler = data.join("filler");
                let full = vec![1; 1 << 20];
                if let Ok(mut file) = fs::File::create(&filler) {
                    while std::io::Write::write_all(&mut file, &full).is_ok() {}
                    struck = true;
                }
                sleep(Duration::from_millis(1500));
                let _ = fs::remove_file(&filler);
            }
        }
        if let Some(mut order) = order {
            let _ = order.wait();
        }
        if damages && way != Way::Restore {
            // Damage shows when the checkpoint is used.
            self.group.kill(STRUCK);
            self.group.start_replica(STRUCK);
        }
        let what = format!("{way:?}, {fault:?} after {} ms", after.as_millis());
        let refusal = self.heal();
        Outcome { what, struck, refusal }
    }

    /// Waits until all is well. Returns the reason why a person was needed, if one was.
    fn heal(&mut self) -> Option<String> {
        let mut refusal = None;
        for _ in 0..2 {
            let healthy = within(START, || {
                self.ask(30);
                for id in self.group.ids() {
                    if let Some(status) = self.group.ended(id) {
                        return Ok(Err(format!("replica {id} ended with {status}")));
                    }
                }
                self.group.status()?.healthy(3).map(Ok)
            });
            let why = match healthy {
                Ok(Ok(())) => return refusal,
                Ok(Err(why)) | Err(why) => why,
            };
            let log = self.group.log(STRUCK);
            let last =
                log.lines().rev().find(|line| line.contains("error") || line.contains("WARN"));
            refusal = Some(format!("{why}: {}", last.unwrap_or_default()));
            // A person gives the replica an empty directory.
            if self.group.daemon(STRUCK).is_some() {
                self.group.kill(STRUCK);
            }
            clear(&self.group.data(STRUCK));
            self.group.start_replica(STRUCK);
        }
        panic!("not healthy again after all: {refusal:?}")
    }

    /// Damages a random file of the newest checkpoint. Returns whether there is one.
    fn damage(&mut self, fault: Fault) -> bool {
        let directory = self.group.data(STRUCK).join("checkpoints");
        let slot_of = |path: &PathBuf| -> Option<u64> {
            path.file_name()?.to_str()?.strip_prefix("slot-")?.parse().ok()
        };
        let items = fs::read_dir(directory).into_iter().flatten().flatten();
        let whole = items.map(|item| item.path()).filter(|path| slot_of(path).is_some());
        let Some(newest) = whole.max_by_key(slot_of) else { return false };
        let mut files = Vec::new();
        list_files(&newest, &mut files);
        files.retain(|file| fs::metadata(file).is_ok_and(|about| about.len() > 0));
        if files.is_empty() {
            return false;
        }
        let file = &files[self.below(files.len() as u64) as usize];
        let Ok(mut bytes) = fs::read(file) else { return false };
        let at = self.below(bytes.len() as u64) as usize;
        match fault {
            Fault::FlipByte => bytes[at] ^= 1 << self.below(8),
            _ => bytes.truncate(at),
        }
        fs::write(file, bytes).is_ok()
    }
}

fn list_files(path: &Path, files: &mut Vec<PathBuf>) {
    for item in fs::read_dir(path).into_iter().flatten().flatten() {
        let Ok(kind) = item.file_type() else { continue };
        if kind.is_dir() {
            list_files(&item.path(), files);
        } else if kind.is_file() {
            files.push(item.path());
        }
    }
    files.sort();
}

/// Removes everything in a directory, which may be the place of a mount.
fn clear(directory: &Path) {
    // A cell that was being made when its daemon was killed ends first.
    sleep(Duration::from_millis(100));
    for item in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = item.path();
        let removed = match item.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Returns a process of CRIU that a process has started, over others in between.
fn criu_below(ancestor: u32) -> Option<u32> {
    let parent = |process: u32| -> Option<u32> {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        text.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let is_criu = |process: u32| {
        let text = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
        words.first().is_some_and(|word| word.starts_with(b"/proc/self/fd/"))
            && words.get(1).is_some_and(|word| *word == b"dump" || *word == b"restore")
    };
    let is_below = |process: u32| {
        let mut above = Some(process);
        for _ in 0..8 {
            match above {
                Some(process) if process == ancestor => return true,
                Some(process) => above = parent(process),
                None => return false,
            }
        }
        false
    };
    let items = fs::read_dir("/proc").ok()?.flatten();
    let numbers = items.filter_map(|item| item.file_name().to_str()?.parse().ok());
    let mut all = numbers.filter(|process| is_criu(*process) && is_below(*process));
    all.next()
}
