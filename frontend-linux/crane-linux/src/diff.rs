//! `crane-linux diff`: says where two servers parted, by the calls that their replicas have frozen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crane_core::id::Slot;

use crate::frozen::{self, CallDifference, FrozenCalls, Parting, ServerHistory};
use crate::options::DiffArgs;
use crate::terminal::{complain, print_line};

/// Exit statuses, beside 0 for servers that did the same.
const DIFFER: i32 = 1;
const UNKNOWN: i32 = 2;
/// Calls that are shown before the first one that differs.
const CONTEXT: u64 = 8;
/// Subdirectories of a data directory of --local.
const NUMBERS: std::ops::RangeInclusive<u8> = 1..=7;

/// Compares two replicas, and returns the exit status.
pub(crate) fn run(args: &DiffArgs) -> i32 {
    match choose(&args.sides).and_then(|[one, other]| report_parting(&one, &other)) {
        Ok((text, status)) => {
            print_line(text.trim_end());
            status
        }
        Err(why) => {
            complain(&why);
            UNKNOWN
        }
    }
}

/// Reads the two sides: those at the highest slot that both have.
fn choose(given: &[PathBuf]) -> Result<[FrozenCalls; 2], String> {
    let sides: Vec<PathBuf> = match given {
        [folder] => {
            let numbered = NUMBERS.map(|number| folder.join(number.to_string()));
            numbered.filter(|side| side.is_dir()).collect()
        }
        _ => given.to_vec(),
    };
    let mut files = Vec::new();
    for side in &sides {
        files.push(files_of(side)?);
    }
    let mut best: Option<(Slot, &Path, &Path)> = None;
    for (place, one) in files.iter().enumerate() {
        for other in &files[place + 1..] {
            let common = one.iter().filter_map(|(slot, path)| {
                let (_, there) = other.iter().find(|(there, _)| there == slot)?;
                Some((*slot, path.as_path(), there.as_path()))
            });
            let last = common.max_by_key(|(slot, ..)| *slot);
            if last.map(|(slot, ..)| slot) > best.map(|(slot, ..)| slot) {
                best = last;
            }
        }
    }
    let Some((_, one, other)) = best else {
        let found = sides.iter().zip(&files).map(|(side, files)| {
            let slots: Vec<String> = files.iter().map(|(slot, _)| slot.to_string()).collect();
            let slots = if slots.is_empty() { "none".into() } else { slots.join(", ") };
            format!("{}: {slots}", side.display())
        });
        return Err(format!(
            "no slot has frozen calls of two replicas ({}): replicas freeze the calls of their \
             servers when their marks differ, and crane-linux status shows whether they do; give \
             the data directories of two replicas, or two of their files frozen/slot-N",
            found.collect::<Vec<_>>().join("; ")
        ));
    };
    Ok([FrozenCalls::read(one)?, FrozenCalls::read(other)?])
}

/// Returns the slots and files of one side: a file, or a data directory.
fn files_of(side: &Path) -> Result<Vec<(Slot, PathBuf)>, String> {
    if side.is_file() {
        return Ok(vec![(FrozenCalls::read(side)?.slot, side.to_path_buf())]);
    }
    if !side.is_dir() {
        return Err(format!(
            "{} does not exist; give a replica's data directory (its --data-dir), or a file \
             frozen/slot-N of it",
            side.display()
        ));
    }
    frozen::list(side).map_err(|error| format!("{}: {error}", side.display()))
}

/// Says where two servers parted.
fn report_parting(one: &FrozenCalls, other: &FrozenCalls) -> Result<(String, i32), String> {
    if one.group != other.group {
        return Err("the two replicas belong to different groups".into());
    }
    if one.node == other.node && one.slot == other.slot {
        return Err("the two sides are of one and the same replica".into());
    }
    let sides = [one, other];
    let found = frozen::compare(&one.history, &other.history);
    let mut text = String::new();
    for side in sides {
        let last = side.history.last_clock();
        let _ = writeln!(text, "{}: frozen at slot {}, clock {last}", name(side), side.slot);
    }
    report_blocks(&found, &mut text);
    let status = match found.parting {
        Parting::Nowhere(clock) => {
            let _ = writeln!(text, "equal: all that both keep, up to clock {clock}");
            0
        }
        Parting::Call(clock) | Parting::Output(clock) => {
            let what = match found.parting {
                Parting::Call(_) => "call: at",
                _ => "bytes for clients: of the call at",
            };
            let _ = writeln!(text, "first differing {what} clock {clock}");
            for side in sides {
                let call = describe(&side.history, clock);
                let _ = writeln!(text, "  {}: {call}", name(side));
            }
            report_context(&one.history, clock, &mut text);
            DIFFER
        }
        Parting::Behind(clock) => {
            let _ = writeln!(
                text,
                "differ: behind clock {clock}; the calls there are not kept by both sides"
            );
            DIFFER
        }
        Parting::Before(clock) => {
            let _ = writeln!(
                text,
                "differ: at or before clock {clock}, the first that both sides keep"
            );
            DIFFER
        }
        Parting::Unknown => {
            return Err(format!(
                "the two sides have no call in common: {} was frozen at clock {}, {} at clock {}; \
                 give files of one slot",
                name(one),
                one.history.last_clock(),
                name(other),
                other.history.last_clock()
            ));
        }
    };
    Ok((text, status))
}

fn report_blocks(found: &CallDifference, text: &mut String) {
    let mut line = |what: &str, block: Option<u64>| {
        if let Some(block) = block {
            let (first, last) = frozen::calls_of(block);
            let _ = writeln!(text, "{what} block: {block}, calls {first} to {last}");
        }
    };
    line("last equal", found.equal_block);
    line("first differing", found.differing_block);
    let mut line = |what: &str, slot: Option<Slot>| {
        if let Some(slot) = slot {
            let _ = writeln!(text, "{what} slot: {slot}");
        }
    };
    line("last equal", found.equal_slot);
    line("first differing", found.differing_slot);
}

/// Shows the calls before one; they are equal on both sides.
fn report_context(history: &ServerHistory, clock: u64, text: &mut String) {
    let before = clock.saturating_sub(CONTEXT).max(1)..clock;
    let calls = before.filter(|clock| history.call(*clock).is_some());
    let lines: Vec<String> =
        calls.map(|clock| format!("  {clock}: {}\n", describe(history, clock))).collect();
    if !lines.is_empty() {
        let _ = write!(text, "the calls before it, the same on both:\n{}", lines.concat());
    }
}

fn name(side: &FrozenCalls) -> String {
    format!("replica {}", side.node)
}

/// Describes the call at a clock, and the place in the program that makes it.
fn describe(history: &ServerHistory, clock: u64) -> String {
    history.call(clock).map_or_else(|| "it is not kept".into(), |call| history.describe(call))
}
