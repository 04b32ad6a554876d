//! Sources of nondeterminism, each probed in several ways by a server on three hosts
//! (`programs/probes.c`): what each replica found is compared.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use super::group::Group;
use super::hosts::Hosts;
use super::machine::Machine;
use super::native::Native;
use super::program;
use super::wait::{ANSWER, SOON, within};

/// Sources that are not agreed and not told yet, by the names of their probes (specs/LIMITS.md).
const KNOWN: [(&str, &str); 3] = [
    ("cpuid", "answered by the processor itself"),
    ("rdrand", "answered by the processor itself"),
    ("inode", "the identity of files is the host's"),
];

/// A probe, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The row of the list of sources.
    pub row: String,
    /// The way and the name.
    pub probe: String,
    /// The rounds in which all replicas found the same.
    pub equal: usize,
    /// Whether a note or an error names the call.
    pub is_told: bool,
    /// Whether two native runs differ.
    pub differs_natively: bool,
}

impl Probed {
    /// Returns whether replicas found different things in one of `rounds` rounds, and nobody was
    /// told.
    #[must_use]
    pub fn is_silent(&self, rounds: usize) -> bool {
        self.equal < rounds && !self.is_told
    }

    /// Returns why that is known, if it is.
    #[must_use]
    pub fn known(&self) -> Option<&'static str> {
        let name = self.name();
        KNOWN.iter().find(|(known, _)| *known == name).map(|(_, why)| *why)
    }

    fn name(&self) -> &str {
        self.probe.split_once(' ').map_or("", |(_, name)| name)
    }
}

/// Asks a line, and returns the answer's lines up to one that is `last`.
fn ask(address: SocketAddr, line: &str, last: &str) -> Result<Vec<String>, String> {
    let fault = |error: std::io::Error| format!("{line}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, ANSWER).map_err(fault)?;
    stream.set_read_timeout(Some(ANSWER)).map_err(fault)?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(fault)?;
    let mut lines = Vec::new();
    for answer in BufReader::new(stream).lines() {
        let answer = answer.map_err(fault)?;
        if answer == last {
            return Ok(lines);
        }
        lines.push(answer);
    }
    Err(format!("{line}: answered {lines:?}"))
}

/// Runs all probes once, and returns them, each with its row.
fn run_all(addresses: &[SocketAddr]) -> Result<Vec<(String, String)>, String> {
    let list = within(SOON, || ask(addresses[0], "list", "end"))?;
    let split = |line: String| {
        let (row, probe) = line.split_once(' ').expect("a row and a probe");
        (row.to_string(), probe.to_string())
    };
    let probes: Vec<_> = list.into_iter().map(split).collect();
    for (place, (_, probe)) in probes.iter().enumerate() {
        ask(addresses[place % addresses.len()], probe, "done")?;
    }
    Ok(probes)
}

/// Runs all probes this number of times on three hosts.
///
/// # Errors
///
/// Returns an error if a probe gets no answer.
///
/// # Panics
///
/// Panics if what a server found cannot be read.
pub fn run(rounds: usize) -> Result<Vec<Probed>, String> {
    let machine = Machine::take("probes");
    let hosts = Arc::new(Hosts::make(3));
    let _hub = hosts.visit_hub();
    let program = program::compiled(machine.folder(), "probes", &[]);
    let group = Group::start_on(&machine, &hosts, program.clone());
    let addresses = group.all_addresses();
    let mut probes = Vec::new();
    for _ in 0..rounds {
        probes = run_all(&addresses)?;
    }
    let status = group.await_settled();
    let told: String =
        status.servers().map(|one| format!("{:?} {}", one.notes, one.last_error)).collect();
    let read =
        |id: u8| String::from_utf8_lossy(&group.file(id, "found").expect("its file")).into_owned();
    let texts = [1, 2, 3].map(read);
    let mut equal = BTreeMap::<&str, usize>::new();
    for ((one, two), three) in texts[0].lines().zip(texts[1].lines()).zip(texts[2].lines()) {
        let (probe, _) = one.rsplit_once(' ').ok_or("a line without a digest")?;
        *equal.entry(probe).or_default() += usize::from(one == two && two == three);
    }
    drop(group);
    let natively = [natively(&machine, &program)?, natively(&machine, &program)?];
    let describe = |(row, probe): (String, String)| {
        let found = |text: &String| {
            text.lines().find(|line| line.starts_with(&format!("{probe} "))).map(str::to_owned)
        };
        let call = probe.split_once(' ').map_or("", |(_, name)| name);
        Probed {
            row,
            equal: equal.get(probe.as_str()).copied().unwrap_or(0),
            is_told: told.contains(call),
            differs_natively: found(&natively[0]) != found(&natively[1]),
            probe,
        }
    };
    Ok(probes.into_iter().map(describe).collect())
}

/// Runs all probes once natively, and returns what the server wrote.
fn natively(machine: &Machine, program: &program::Program) -> Result<String, String> {
    let native = Native::start(machine, program);
    run_all(&[native.address()])?;
    let written = native.folder().join("found");
    fs::read_to_string(&written).map_err(|error| format!("{}: {error}", written.display()))
}

/// Prints a table of all probes, and returns those that are silent and not known.
#[must_use]
pub fn measure(rounds: usize) -> Vec<String> {
    let probed = match run(rounds) {
        Ok(probed) => probed,
        Err(why) => return vec![why],
    };
    let mut missed = Vec::new();
    for one in &probed {
        let outcome = match (one.is_silent(rounds), one.known(), one.equal == rounds) {
            (false, _, true) => "agreed".to_string(),
            (false, _, false) => "differs, told".to_string(),
            (true, Some(why), _) => format!("differs: {why}"),
            (true, None, _) => {
                missed.push(format!("row {}, {}: differs in silence", one.row, one.probe));
                "DIFFERS IN SILENCE".to_string()
            }
        };
        let natively = if one.differs_natively { "differs" } else { "same" };
        println!(
            "| {} | {} | {outcome} ({} of {rounds}) | {natively} |",
            one.row, one.probe, one.equal
        );
    }
    let agreed = probed.iter().filter(|one| one.equal == rounds).count();
    println!("{agreed} of {} probes agreed on three hosts, {rounds} rounds", probed.len());
    missed
}
