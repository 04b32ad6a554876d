//! Servers of several languages' runtimes, on three hosts: node, the JVM, Rust's standard library,
//! and Go's, which is linked statically.
//!
//! Each counts requests, so a lost, doubled or reordered one shows in every later answer.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::scope;
use std::time::{Duration, Instant};

use super::binary::programs;
use super::group::Group;
use super::hosts::Hosts;
use super::http::Connection;
use super::machine::{Machine, free_port};
use super::program::Program;
use super::wait::{ANSWER, SOON, eventually};

/// A runtime, by the tool that the machine must have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// `node`.
    Node,
    /// `javac` and `java`.
    Java,
    /// `rustc`.
    Rust,
    /// `go`.
    Go,
}

/// All runtimes.
pub const RUNTIMES: [Runtime; 4] = [Runtime::Node, Runtime::Java, Runtime::Rust, Runtime::Go];

/// The number of clients at the same time, and of the requests of each, in the second part.
const CLIENTS: usize = 6;
const REQUESTS: usize = 30;

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The number of connections in a row, each with one request.
    pub connections: u64,
    /// The time that all these connections took.
    pub took: Duration,
    /// The time from the primary's end to the next answer, at another host.
    pub failover: Duration,
}

/// Serves `connections` connections in a row, then several clients at once, kills the primary, and
/// waits until it is back and all hashes are equal.
///
/// # Errors
///
/// Returns an error if the runtime's tool is not on this machine.
///
/// # Panics
///
/// Panics if an answer is not the next number, or the replicas differ.
pub fn run(runtime: Runtime, connections: u64) -> Result<Outcome, String> {
    let machine = Machine::take("runtimes");
    let program = program(runtime, machine.folder())?;
    let hosts = Arc::new(Hosts::make(3));
    let _hub = hosts.visit_hub();
    let mut group = Group::start_on(&machine, &hosts, program);
    let addresses = group.all_addresses();
    let start = Instant::now();
    for number in 1..=connections {
        let address = addresses[number as usize % addresses.len()];
        assert_eq!(count(address).expect("an answer"), number, "{runtime:?}");
    }
    let took = start.elapsed();
    scope(|threads| {
        for client in 0..CLIENTS {
            let address = addresses[client % addresses.len()];
            threads.spawn(move || ask(address, REQUESTS));
        }
    });
    let before = connections + (CLIENTS * REQUESTS) as u64;
    let primary = group.primary();
    let survivor = group.ids().find(|id| *id != primary).expect("a backup");
    let killed = group.kill(primary);
    let address = group.address(survivor);
    let next = eventually("an answer of a survivor", SOON, || count(address));
    let failover = killed.elapsed();
    // A request whose answer did not come may have been counted.
    assert!(next > before && next <= before + 20, "{runtime:?}: {next} follows {before}");
    group.start_replica(primary);
    group.await_serving();
    for address in &addresses {
        ask(*address, REQUESTS);
    }
    group.await_settled();
    Ok(Outcome { connections, took, failover })
}

/// Makes requests on one connection, and checks that the numbers grow.
fn ask(address: SocketAddr, requests: usize) {
    let mut connection = Connection::open(address, ANSWER).expect("a connection");
    let mut last = 0;
    for _ in 0..requests {
        let reply = connection.get("/").expect("an answer");
        let number = read(&reply.body).expect("a number");
        assert!(number > last, "{number} follows {last}");
        last = number;
    }
}

fn count(address: SocketAddr) -> Result<u64, String> {
    let mut connection = Connection::open(address, ANSWER).map_err(|error| error.to_string())?;
    let reply = connection.get("/").map_err(|error| error.to_string())?;
    read(&reply.body).ok_or_else(|| format!("{:?}", String::from_utf8_lossy(&reply.body)))
}

fn read(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.trim().parse().ok()
}

/// Returns the server of a runtime.
///
/// # Errors
///
/// Returns an error if the runtime's tool is not on this machine.
pub(super) fn program(runtime: Runtime, folder: &Path) -> Result<Program, String> {
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("the program's folder");
    let source = |name: &str| programs().join("runtimes").join(name);
    let port = free_port();
    let (name, mut command): (_, Vec<String>) = match runtime {
        Runtime::Node => {
            fs::copy(source("count.js"), base.join("count.js")).expect("count.js");
            ("node", vec![tool("node")?, "count.js".into()])
        }
        Runtime::Java => return of_java(folder, &[]),
        Runtime::Rust => {
            let mut compiler = Command::new(tool("rustc")?);
            compiler.args(["--edition", "2024", "-O", "-o"]).arg(base.join("count"));
            done(compiler.arg(source("count.rs")));
            ("rust", vec!["./count".into()])
        }
        Runtime::Go => return of_go(folder, "count"),
    };
    command.push(port.to_string());
    Ok(Program { name, command, port, base })
}

/// Returns the server of Java, with options of the virtual machine.
///
/// # Errors
///
/// Returns an error if Java is not on this machine.
///
/// # Panics
///
/// Panics if it cannot be compiled.
pub fn of_java(folder: &Path, options: &[&str]) -> Result<Program, String> {
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("the program's folder");
    let source = programs().join("runtimes/Count.java");
    done(Command::new(tool("javac")?).arg("-d").arg(&base).arg(source));
    let port = free_port();
    let mut command = vec![tool("java")?];
    command.extend(options.iter().map(ToString::to_string));
    command.extend(["-cp", ".", "Count", &port.to_string()].map(String::from));
    Ok(Program { name: "java", command, port, base })
}

/// Returns a program of Go's, of this name, which is linked statically.
///
/// # Errors
///
/// Returns an error if Go is not on this machine.
///
/// # Panics
///
/// Panics if it cannot be compiled.
pub fn of_go(folder: &Path, name: &'static str) -> Result<Program, String> {
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("the program's folder");
    let mut compiler = Command::new(tool("go")?);
    compiler.env("CGO_ENABLED", "0").env("GO111MODULE", "off");
    compiler.env("GOCACHE", folder.join("cache")).env("GOPATH", folder.join("path"));
    compiler.args(["build", "-o"]).arg(base.join(name));
    done(compiler.arg(programs().join(format!("runtimes/{name}.go"))));
    let port = free_port();
    Ok(Program { name, command: vec![format!("./{name}"), port.to_string()], port, base })
}

/// Finds a tool, and follows its links, behind which a launcher may start another program.
pub(super) fn tool(name: &str) -> Result<String, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|f| f.is_file());
    let found = found.ok_or_else(|| format!("{name} is not on this machine"))?;
    // rustup's proxies depend on the name by which they are called.
    let real: PathBuf = match name {
        "rustc" => found,
        _ => found.canonicalize().map_err(|error| format!("{name}: {error}"))?,
    };
    Ok(real.display().to_string())
}

/// Runs a compiler.
pub(super) fn done(command: &mut Command) {
    let output = command.output().expect("the compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
