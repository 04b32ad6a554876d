//! Every body under proptest, with random bytes and with changed seeds. The number of cases is
//! bounded, so that the bodies are a part of `cargo test`; PROPTEST_CASES sets another number.
//!
//! A failure prints the bytes; `CRANE_FUZZ=target:bytes cargo test -p crane-fuzz --test bodies
//! again` runs them once more.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crane_fuzz::{TARGETS, Target, run};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// The number of cases of each target, unless PROPTEST_CASES sets another.
const CASES: u32 = 400;

/// A change of an input.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Remove(Index, u8),
    Insert(Index, Vec<u8>),
    /// Replaces the bytes from one place on by those of another seed.
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let odd = prop_oneof![Just(0), Just(1), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    prop_oneof![
        4 => (place(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        4 => (place(), odd).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), 1..20_u8).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => (place(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (place(), place(), place())
            .prop_map(|(at, seed, from)| Change::Splice(at, seed, from)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let whole = bytes.len();
    match change {
        _ if whole == 0 => {}
        Change::Flip(at, bit) => bytes[at.index(whole)] ^= 1 << bit,
        Change::Set(at, byte) => bytes[at.index(whole)] = *byte,
        Change::Cut(at) => bytes.truncate(at.index(whole)),
        Change::Remove(at, count) => {
            let at = at.index(whole);
            bytes.drain(at..whole.min(at + usize::from(*count)));
        }
        Change::Insert(at, more) => {
            let at = at.index(whole);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Splice(at, seed, from) => {
            let other = &seeds[seed.index(seeds.len())];
            bytes.truncate(at.index(whole));
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
    }
}

fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (any::<Index>(), vec(change(), 0..6)).prop_map(move |(seed, changes)| {
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        changes.iter().for_each(|change| apply(change, &mut bytes, &seeds));
        bytes
    });
    prop_oneof![1 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 0..2000), 6 => changed]
}

fn hold(target: &Target) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    let outcome = TestRunner::new(config).run(&inputs((target.seeds)()), |bytes| {
        catch_unwind(AssertUnwindSafe(|| (target.body)(&bytes))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            TestCaseError::fail(format!("{text}\nCRANE_FUZZ={}:{}", target.name, hex(&bytes)))
        })
    });
    if let Err(error) = outcome {
        panic!("{}: {error}", target.name);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits a byte");
    (0..text.len()).step_by(2).map(digits).collect()
}

macro_rules! bodies {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                let target = TARGETS.iter().find(|target| target.name == name);
                hold(target.expect("a target of this name"));
            }
        )+

        #[test]
        fn every_target_has_a_test() {
            let here = [$(stringify!($name)),+];
            assert!(TARGETS.iter().map(|target| target.name).eq(here));
        }
    };
}

bodies! {
    message entry genesis frames hello peer_message handed_ops report question segment log
    data_directory key_file index frozen_file calls_message ring command_line node execution forward
}

#[test]
fn every_target_has_seeds_that_keep_its_properties() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        seeds.iter().for_each(|seed| (target.body)(seed));
    }
}

/// Runs the target and bytes that CRANE_FUZZ names.
#[test]
fn again() {
    let Ok(text) = std::env::var("CRANE_FUZZ") else { return };
    let (name, bytes) = text.split_once(':').expect("target:bytes");
    run(name, &unhex(bytes));
}
