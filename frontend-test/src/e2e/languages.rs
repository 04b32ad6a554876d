//! The racy server in several languages: its answers depend on how its threads interleave, and are
//! the same on all replicas, although these are stopped and moved between processors at random.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use super::binary::programs;
use super::frozen::freeze;
use super::group::Group;
use super::machine::{Machine, free_port};
use super::native::Native;
use super::program::{self, Program};
use super::racy::ask_all;
use super::runtimes::{done, of_go, tool};

/// A language, or a library for threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C with POSIX threads.
    C,
    /// C with the threads and atomics of C11.
    C11,
    /// C++.
    Cpp,
    /// C with OpenMP.
    OpenMp,
    /// Rust's standard library.
    Rust,
    /// Go, linked statically.
    Go,
    /// Java.
    Java,
    /// Python.
    Python,
}

/// All languages.
pub const LANGUAGES: [Language; 8] = [
    Language::C,
    Language::C11,
    Language::Cpp,
    Language::OpenMp,
    Language::Rust,
    Language::Go,
    Language::Java,
    Language::Python,
];

/// The number of clients at the same time. Each answer is a run of its own.
const CLIENTS: usize = 4;

/// Returns the racy server in a language.
///
/// # Errors
///
/// Returns an error if the language's tool is not on this machine.
///
/// # Panics
///
/// Panics if the program cannot be compiled.
pub fn racy(language: Language, folder: &Path) -> Result<Program, String> {
    let base = folder.join("base");
    fs::create_dir_all(&base).expect("the program's folder");
    let source = |name: &str| programs().join("runtimes").join(name);
    let compile = |compiler: &str, words: &[&str], name: &str| -> Result<Vec<String>, String> {
        let mut command = Command::new(tool(compiler)?);
        done(command.args(words).arg("-o").arg(base.join("racy")).arg(source(name)));
        Ok(vec!["./racy".into()])
    };
    let (name, mut command) = match language {
        Language::C => return Ok(program::compiled(folder, "racy", &[])),
        Language::Go => return of_go(folder, "racy"),
        Language::C11 => ("racy-c11", compile("cc", &["-O1", "-pthread"], "racy-c11.c")?),
        Language::Cpp => ("racy-cpp", compile("c++", &["-O1", "-pthread"], "racy.cpp")?),
        Language::OpenMp => {
            ("racy-openmp", compile("cc", &["-O1", "-fopenmp", "-pthread"], "racy-openmp.c")?)
        }
        Language::Rust => ("racy-rust", compile("rustc", &["--edition", "2024", "-O"], "racy.rs")?),
        Language::Java => {
            done(Command::new(tool("javac")?).arg("-d").arg(&base).arg(source("Racy.java")));
            ("racy-java", vec![tool("java")?, "-cp".into(), ".".into(), "Racy".into()])
        }
        Language::Python => {
            fs::copy(source("racy.py"), base.join("racy.py")).expect("racy.py");
            ("racy-python", vec!["/usr/bin/python3".into(), "racy.py".into()])
        }
    };
    let port = free_port();
    command.push(port.to_string());
    Ok(Program { name, command, port, base })
}

/// Has three replicas in a language answer `runs` requests while they are disturbed, and compares
/// them. Returns how many of the answers say that threads met.
///
/// # Errors
///
/// Returns an error if a tool is missing, or a request fails.
///
/// # Panics
///
/// Panics if the replicas differ.
pub fn compare(language: Language, runs: usize) -> Result<usize, String> {
    let machine = Machine::take("languages");
    let group = Group::start(&machine, racy(language, machine.folder())?, 3, &[]);
    let ended = AtomicBool::new(false);
    let answers = scope(|threads| {
        let clients = threads.spawn(|| {
            let answers = ask_all(&group.all_addresses(), CLIENTS, runs.div_ceil(CLIENTS));
            ended.store(true, Ordering::SeqCst);
            answers
        });
        threads.spawn(|| disturb(&group, &ended));
        clients.join().expect("the clients")
    });
    let answers = answers.map_err(|error| error.to_string())?;
    group.await_settled();
    for replica in group.status()?.servers() {
        if replica.uncovered_calls != 0 {
            return Err(format!("replica {}: {:?}", replica.id, replica.notes));
        }
    }
    let met = answers.iter().flatten().filter(|answer| !answer.contains(" moved 299 to "));
    Ok(met.count())
}

/// Stops replicas for moments, and moves their servers between processors, until the end.
fn disturb(group: &Group, ended: &AtomicBool) {
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    while !ended.load(Ordering::SeqCst) {
        sleep(Duration::from_millis(5 + next(40)));
        let id = next(3) as u8 + 1;
        let servers = group.status().ok().and_then(|status| status.replica(id).server_pid);
        if let Some(server) = servers {
            move_to(server, next(2) as usize);
        }
        let frozen = freeze(group, id);
        sleep(Duration::from_millis(1 + next(30)));
        drop(frozen);
    }
}

/// Lets all threads of a process run on one processor alone. Those that are gone run nowhere.
fn move_to(process: u32, processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    for thread in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
        let number = thread.file_name().to_str().and_then(|name| name.parse().ok());
        let _ = sched_setaffinity(number.and_then(Pid::from_raw), &only);
    }
}

/// Returns whether native runs of the server, with the same requests, differ.
///
/// # Errors
///
/// Returns an error if a tool is missing, or a request fails.
pub fn differs_natively(language: Language) -> Result<bool, String> {
    const RUNS: usize = 4;
    let mut told = BTreeSet::new();
    for _ in 0..RUNS {
        let machine = Machine::take("languages-native");
        let native = Native::start(&machine, &racy(language, machine.folder())?);
        let answers = ask_all(&[native.address()], CLIENTS, 10).map_err(|e| e.to_string())?;
        told.insert(answers.concat());
    }
    Ok(told.len() > 1)
}

/// Compares all languages, with this number of runs, and their controls. Prints a line for each,
/// and returns what is wrong.
#[must_use]
pub fn measure(runs: usize) -> Vec<String> {
    let mut missed = Vec::new();
    for language in LANGUAGES {
        match (compare(language, runs), differs_natively(language)) {
            (Ok(met), Ok(true)) => {
                println!("{language:?}: {runs} runs equal on three replicas, threads met in {met}");
                if met == 0 {
                    missed.push(format!("{language:?}: no thread met another"));
                }
            }
            (Ok(_), Ok(false)) => missed.push(format!("{language:?}: native runs do not differ")),
            (Err(why), _) | (_, Err(why)) => missed.push(format!("{language:?}: {why}")),
        }
    }
    missed
}
