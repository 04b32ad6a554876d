//! `crane-linux log show|verify`: reads a data directory without a running daemon, and changes
//! nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::signal_name::SignalName;
use crane_core::paxos::{Content, Record};
use crane_core::wire::{EntryPayload, Founder, Genesis, Op, RestartReason};

use crate::log::record::{Found, StoredRecord};
use crate::log::{Front, LogError, reading};
use crate::terminal::{complain, print_line};

/// Prints every record of the log in this data directory, or only checks that all are whole, and
/// returns the exit status.
pub(crate) fn run(data: &Path, records: bool) -> i32 {
    let log = data.join("log");
    if !log.is_dir() {
        let data = data.display();
        complain(&format!("{data} holds no log; give a replica's data directory (its --data-dir)"));
        return 1;
    }
    match read(&log, records) {
        Ok((count, torn)) => {
            print_line(&format!("{count} records are whole; {torn} torn bytes at the end"));
            0
        }
        Err(error) => {
            complain(&error.to_string());
            1
        }
    }
}

/// Returns the number of records, and of torn bytes at the end.
fn read(directory: &Path, records: bool) -> Result<(u64, usize), LogError> {
    let front = Front::read(directory)?;
    let mut genesis_seen = front.as_ref().is_some_and(|front| front.genesis.is_some());
    if let Some(front) = front.as_ref().filter(|_| records) {
        print_line(&format!("front              {}", describe_front(front)));
    }
    let (mut count, mut read_on) = (0, records);
    let end = reading::read_log(
        directory,
        front.as_ref(),
        |path| fs::read(path),
        |segment, found| {
            count += 1;
            let text = describe(found, &mut genesis_seen);
            // Once the output is closed, the records are only counted.
            if read_on {
                read_on = print_line(&format!("{segment:08}:{:<10} {text}", found.offset));
            }
            Ok(())
        },
    )?;
    Ok((count, end.torn_bytes))
}

fn describe_front(front: &Front) -> String {
    format!(
        "the log starts behind slot {} (ballot {}); until then promise {}, accepted {}, voting \
         {:?}, committed up to {}",
        front.snapshot.slot,
        front.snapshot.ballot,
        front.promised,
        front.accepted,
        front.voting,
        front.committed
    )
}

fn describe(found: &Found<'_>, genesis_seen: &mut bool) -> String {
    match found.stored {
        StoredRecord::Committed(slot) => format!("committed up to {slot}"),
        StoredRecord::Closed => "closed".to_string(),
        StoredRecord::Paxos(Record::Promise { ballot }) => format!("promise {ballot}"),
        StoredRecord::Paxos(Record::VotingStatus(voting)) => format!("voting {voting:?}"),
        StoredRecord::Paxos(Record::Adopt { ballot, up_to }) => {
            format!("adopt {ballot}: the log ends at slot {up_to}")
        }
        StoredRecord::Paxos(Record::Accept { slot, entry }) => {
            let what = match entry.content {
                Content::Payload(_) if !*genesis_seen => {
                    *genesis_seen = true;
                    describe_genesis(found.payload)
                }
                Content::Payload(_) => describe_entry(found.payload),
                other => format!("{other:?}"),
            };
            format!("slot {slot} under {}: {what}", entry.ballot)
        }
    }
}

fn describe_genesis(payload: &[u8]) -> String {
    match Genesis::decode(payload) {
        Ok(genesis) => {
            let name = |founder: &Founder| match founder.witness {
                true => format!("{} (witness)", founder.address),
                false => founder.address.to_string(),
            };
            let members: Vec<String> = genesis.members.iter().map(name).collect();
            format!(
                "genesis of group {:032x}, members {}, quantum {}, nclock {}, {:?}, {} processors \
                 and {} MiB of memory to be seen",
                genesis.group,
                members.join(","),
                genesis.quantum,
                genesis.nclock,
                genesis.schedule,
                genesis.figures.processors,
                genesis.figures.memory >> 20
            )
        }
        Err(error) => format!("no genesis: {error}"),
    }
}

fn describe_entry(payload: &[u8]) -> String {
    let entry = match EntryPayload::decode(payload) {
        Ok(entry) => entry,
        Err(error) => return format!("no entry: {error}"),
    };
    let mut text = format!("timestamp {} grant {}", entry.timestamp, entry.grant);
    for op in entry.ops() {
        let _ = match op {
            Op::Connect { conn, local, .. } => write!(text, ", connect {conn} to {}", local.port),
            Op::Send { conn, offset, bytes } => {
                write!(text, ", send {conn} {offset}+{}", bytes.len())
            }
            Op::Shut { conn, total } => write!(text, ", shut {conn} at {total}"),
            Op::Reset { conn } => write!(text, ", reset {conn}"),
            Op::Drained { conn, total } => write!(text, ", drained {conn} {total}"),
            Op::Time => write!(text, ", time"),
            Op::Retire { node, generation } => write!(text, ", retire {node}.{}", generation.0),
            Op::Member { node, address, witness } => {
                let what = if witness { ", a witness" } else { "" };
                write!(text, ", member {node} at {address}{what}")
            }
            Op::Halt { slot } => write!(text, ", halt, because servers differ before {slot}"),
            Op::Signal { number, .. } => write!(text, ", signal {}", SignalName::of(number)),
            Op::Restart { incarnation, reason } => {
                write!(text, ", restart as incarnation {incarnation}").and_then(|()| match reason {
                    RestartReason::Ordered => write!(text, " by an order"),
                    RestartReason::Upgraded { command, .. } => {
                        write!(text, " of the command {}", command.replace('\0', " "))
                    }
                    RestartReason::Crashed(crash) => write!(
                        text,
                        ", because incarnation {} crashed at clock {}",
                        crash.incarnation, crash.clock
                    ),
                })
            }
        };
    }
    text
}
