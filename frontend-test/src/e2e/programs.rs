//! The programs in `frontend-test/programs`: their lists, the content of their first lines, and
//! their compiled form, which is kept as long as the sources stay the same.

use std::fmt;
use std::fs;
use std::hash::Hasher;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustc_hash::FxHasher;
use rustix::process::{Pid, Signal, kill_process_group};

use super::binary;

/// The behaviour of a stuck program after `stick`, from its first lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The file's name without its ending.
    pub name: String,
    /// The system call in which the thread stays, by the kernel's name, if the thread makes one.
    pub call: Option<String>,
    /// The way in which the program sticks.
    pub expect: Expect,
    /// The way in which the call is made: `libc`, `syscall` or `inline`.
    pub via: String,
}

/// The way in which a stuck program sticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The program stays in a call in the kernel.
    InKernel,
    /// The program computes, or makes calls without end.
    Computes,
    /// The program makes a call that no library sees, and answers.
    Bypass,
    /// The program is a control: it answers in time or waits for a client, and raises no fault.
    None,
}

/// The name of the thread that sticks.
pub const STUCK_THREAD: &str = "sticky";

/// A program that tries one kind of call, with a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Odd {
    /// The file's name without its ending.
    pub name: String,
    /// The kind of call that it tries.
    pub kind: String,
    /// Whether the program has a peer that can run as a process of its own.
    pub has_peer: bool,
    /// Whether the program waits without libc, so that it runs on a floor alone.
    pub needs_floor: bool,
    /// The room of its compiled form: [`ODD`], or [`STATIC`] if it is linked statically.
    pub room: &'static str,
}

/// The room of the odd programs.
pub const ODD: &str = "odd";
/// The room of the same programs, linked statically.
pub const STATIC: &str = "odd-static";

/// A way to start a server that does not name it first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    /// The name, for messages.
    pub name: String,
    /// The words before the server's arguments, the server's path among them as `SERVER`.
    words: Vec<String>,
}

impl Launcher {
    /// Returns the command that starts `server` in this form.
    #[must_use]
    pub fn command(&self, server: &[String]) -> Vec<String> {
        self.command_in(&binary::programs().join("launchers"), server)
    }

    /// Copies the launchers' files into a folder, and returns the command that starts `server` by
    /// them: a cell shows its server no `/tmp`, where the sources may lie.
    ///
    /// # Panics
    ///
    /// Panics if the files cannot be copied.
    #[must_use]
    pub fn command_at(&self, folder: &Path, server: &[String]) -> Vec<String> {
        let files = fs::read_dir(binary::programs().join("launchers")).expect("the launchers");
        for file in files.map(|file| file.expect("a launcher").path()) {
            fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("a copy");
        }
        self.command_in(folder, server)
    }

    fn command_in(&self, folder: &Path, server: &[String]) -> Vec<String> {
        let mut command: Vec<String> = self
            .words
            .iter()
            .map(|word| match word.as_str() {
                "SERVER" => server[0].clone(),
                "./busybox" => {
                    let copy = folder.join("busybox");
                    if folder != binary::programs().join("launchers") {
                        fs::copy(compiled("launchers", "busybox"), &copy).expect("a copy");
                        copy.display().to_string()
                    } else {
                        compiled("launchers", "busybox").display().to_string()
                    }
                }
                _ => word
                    .strip_prefix("./")
                    .map_or_else(|| word.clone(), |file| folder.join(file).display().to_string()),
            })
            .collect();
        command.extend_from_slice(&server[1..]);
        command
    }
}

/// Returns the stuck programs and their controls, by name.
///
/// # Panics
///
/// Panics if the first lines of one are not as `stuck.h` says.
#[must_use]
pub fn stuck() -> Vec<Stuck> {
    names("stuck").into_iter().map(read_stuck).collect()
}

/// Returns the odd programs, by name.
///
/// # Panics
///
/// Panics if one does not begin with its kind.
#[must_use]
pub fn odd() -> Vec<Odd> {
    let read = |name: String| {
        let text = source(ODD, &name);
        let kind = field(&text, &name, "kind");
        let has_peer = text.lines().any(|line| line == "#define PEER");
        let needs_floor = text.lines().any(|line| line == "// needs: --floor");
        Odd { name, kind, has_peer, needs_floor, room: ODD }
    };
    names(ODD).into_iter().map(read).collect()
}

/// Returns the same programs, linked statically.
#[must_use]
pub fn statically_linked_odd() -> Vec<Odd> {
    odd().into_iter().map(|odd| Odd { room: STATIC, ..odd }).collect()
}

/// Returns the forms of launching.
///
/// # Panics
///
/// Panics if the table is not as its head says.
#[must_use]
pub fn launchers() -> Vec<Launcher> {
    let path = binary::programs().join("launchers/table.tsv");
    let text = fs::read_to_string(&path).expect("the table of launchers");
    let read = |line: &str| {
        let mut words = line.split('\t').map(str::to_owned);
        let name = words.next().unwrap_or_default();
        let words: Vec<String> = words.collect();
        let servers = words.iter().filter(|word| *word == "SERVER").count();
        assert_eq!(servers, 1, "{}: {name}: one word SERVER", path.display());
        Launcher { name, words }
    };
    text.lines().filter(|line| !line.starts_with('#')).map(read).collect()
}

/// Returns the compiled form of `programs/ROOM/NAME.c`; compiles it if its sources or the flags
/// have changed.
///
/// # Panics
///
/// Panics if there is no C compiler or the program does not compile.
#[must_use]
pub fn compiled(room: &str, name: &str) -> PathBuf {
    let is_static = room == STATIC || room == "launchers";
    let sources = if room == STATIC { ODD } else { room };
    let folder = binary::programs().join(sources);
    let file = folder.join(format!("{name}.c"));
    let mut flags = vec!["-O1", "-g", "-Wall", "-pthread"];
    if room != STATIC {
        // The linker warns of functions of a static libc that load libraries.
        flags.push("-Werror");
    }
    if is_static {
        flags.push("-static");
    }
    if room == "preloads" {
        flags.extend(["-shared", "-fPIC"]);
    }
    let mut hash = FxHasher::default();
    hash.write(flags.join(" ").as_bytes());
    hash.write(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    let header = folder.join(format!("{sources}.h"));
    if header.exists() {
        hash.write(&fs::read(&header).expect("the header"));
    }
    let kept = cache().join(format!("{room}-{:016x}", hash.finish()));
    let target = kept.join(name);
    if target.exists() {
        return target;
    }
    fs::create_dir_all(&kept).expect("the folder of compiled programs");
    // The compiler writes to a unique name, because another test may compile the same program.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let draft = kept.join(format!("{}-{number}.draft", process::id()));
    let done = Command::new("cc").args(flags).arg("-o").arg(&draft).arg(&file).status();
    assert!(done.expect("cc").success(), "{} does not compile", file.display());
    fs::rename(&draft, &target).expect("the compiled program in its place");
    target
}

/// A program that runs natively, in a folder and a session of its own, as a service's program does.
/// (The session of the tests may have its leader outside of the pid namespace, in which a program
/// would print another answer.) When dropped, ends the whole process group and removes the folder.
pub struct Running {
    child: Child,
    folder: PathBuf,
    port: u16,
}

/// The outcome of a program that ended by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Ended {
    /// The text that the program printed on stdout.
    pub transcript: String,
    /// The exit status, or `None` after a signal or if the program did not end in time.
    pub status: Option<i32>,
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?} after\n{}", self.status, self.transcript)
    }
}

impl Running {
    /// Starts `programs/ROOM/NAME` with `port` and `arguments`.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    #[must_use]
    pub fn start(room: &str, name: &str, port: u16, arguments: &[&str]) -> Self {
        let program = compiled(room, name);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let folder = cache().join(format!("run-{}-{number}", process::id()));
        fs::create_dir_all(&folder).expect("the folder of a run");
        let child = Command::new("setsid")
            .arg(program)
            .arg(port.to_string())
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        Self { child, folder, port }
    }

    /// Returns what it printed and how it ended, after `bound` at the latest.
    ///
    /// # Panics
    ///
    /// Panics if its output cannot be read.
    #[must_use]
    pub fn end_within(mut self, bound: Duration) -> Ended {
        let mut output = self.child.stdout.take().expect("piped");
        let reader = spawn(move || {
            let mut text = Vec::new();
            output.read_to_end(&mut text).map(|_| text)
        });
        let since = Instant::now();
        let mut status = None;
        while since.elapsed() < bound {
            if let Some(ended) = self.child.try_wait().expect("the program's status") {
                status = ended.code();
                break;
            }
            sleep(Duration::from_millis(5));
        }
        // Children that hold its output end here.
        drop(self);
        let text = reader.join().expect("the reader").expect("the program's output");
        Ended { transcript: String::from_utf8_lossy(&text).into_owned(), status }
    }

    /// Connects, as soon as it listens; `bound` also limits each read.
    ///
    /// # Panics
    ///
    /// Panics if it does not listen in time.
    #[must_use]
    pub fn connect(&self, bound: Duration) -> TcpStream {
        let since = Instant::now();
        loop {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(bound)).expect("a limit");
                    stream.set_nodelay(true).expect("no delay");
                    return stream;
                }
                Err(error) => assert!(since.elapsed() < bound, "port {}: {error}", self.port),
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Returns the number of the system call in which the thread that sticks is: `running` if it
    /// is in none.
    #[must_use]
    pub fn stuck_in(&self) -> Option<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        for task in tasks.flatten() {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.trim_end() == STUCK_THREAD {
                let text = fs::read_to_string(task.path().join("syscall")).ok()?;
                return text.split_whitespace().next().map(str::to_owned);
            }
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not yet waited for, or waited for just now: its number is still its group's.
        if let Some(group) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // It has no group of its own before `setsid` took its turn.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Sends a line, and returns whether the same line came back before the stream's limit.
#[must_use]
pub fn echoes(mut stream: &TcpStream, line: &str) -> bool {
    let mut answer = vec![0; line.len()];
    stream.write_all(line.as_bytes()).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer == line.as_bytes()
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

fn names(room: &str) -> Vec<String> {
    let folder = binary::programs().join(room);
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".c").map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn source(room: &str, name: &str) -> String {
    let path = binary::programs().join(room).join(format!("{name}.c"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns what a first line `// KEY: VALUE` says.
fn field(text: &str, name: &str, key: &str) -> String {
    text.lines()
        .map_while(|line| line.strip_prefix("// "))
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("{name}.c: no first line `// {key}: …`"))
        .to_owned()
}

fn read_stuck(name: String) -> Stuck {
    let text = source("stuck", &name);
    let expect = match field(&text, &name, "expect").as_str() {
        "in-kernel" => Expect::InKernel,
        "computes" => Expect::Computes,
        "bypass" => Expect::Bypass,
        "none" => Expect::None,
        other => panic!("{name}.c: expect is {other}"),
    };
    let call = Some(field(&text, &name, "call")).filter(|call| call != "-");
    let via = field(&text, &name, "via");
    assert!(["libc", "syscall", "inline"].contains(&via.as_str()), "{name}.c: via is {via}");
    Stuck { name, call, expect, via }
}

/// Returns the folder under `target` where compiled programs are kept.
fn cache() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), PathBuf::from)
        .join("test-programs")
}
