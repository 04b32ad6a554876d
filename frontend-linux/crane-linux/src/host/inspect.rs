//! An inspection, from outside, of the server's thread that has the turn and makes no progress
//! (proc(5), ptrace(2)).

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::driver::{Activity, Inspection};
use crate::symbols::Maps;

/// The time between the two samples that distinguish computing from waiting.
const BETWEEN: Duration = Duration::from_millis(100);
/// The number of bytes of the stack that are searched for callers.
const STACK_BYTES: usize = 4096;
/// Libraries that only pass a call on. The search for the caller skips them.
const PASSING: [&str; 4] = ["libc.so", "ld-linux", "preload.so", "libpthread"];

/// Returns what a thread of a process does. `holder` is the thread's number in the cell, or 0 for
/// the first thread.
///
/// # Errors
/// Returns the system's error: the process may be gone.
pub(super) fn inspect(process: u32, holder: u32) -> io::Result<Inspection> {
    let thread = find_thread(process, holder)?;
    let folder = PathBuf::from(format!("/proc/{process}/task/{thread}"));
    let before = processor_time(&folder)?;
    std::thread::sleep(BETWEEN);
    let spent = processor_time(&folder)?.saturating_sub(before);
    let line = fs::read_to_string(folder.join("syscall"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = words.first().and_then(|word| word.parse::<i64>().ok());
    let address = |place: usize| {
        let word = words.get(words.len().checked_sub(place)?)?;
        u64::from_str_radix(word.trim_start_matches("0x"), 16).ok()
    };
    let activity = match number {
        // One tick of processor time is 10 ms.
        _ if spent >= 5 => Activity::Computes,
        Some(number) if number >= 0 => Activity::InCall(call_name(number)),
        Some(_) => Activity::InCall("a page fault".into()),
        None => Activity::Computes,
    };
    let registers = match number {
        Some(_) => address(2).zip(address(1)),
        None => None,
    };
    let place = registers.or_else(|| peek_registers(thread)).map(|(stack, instruction)| {
        Maps::read(process).map(|maps| caller(&maps, process, stack, instruction))
    });
    let name = fs::read_to_string(folder.join("comm"))?.trim_end().to_string();
    Ok(Inspection { thread: holder, name, activity, place: place.transpose()?.flatten() })
}

/// Finds the host's number of a thread by its number in the cell.
fn find_thread(process: u32, holder: u32) -> io::Result<u32> {
    if holder == 0 {
        return Ok(process);
    }
    for item in fs::read_dir(format!("/proc/{process}/task"))? {
        let item = item?;
        let status = fs::read_to_string(item.path().join("status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let inner = numbers.and_then(|numbers| numbers.split_whitespace().last());
        if inner.and_then(|number| number.parse().ok()) == Some(holder)
            && let Some(number) = item.file_name().to_str().and_then(|name| name.parse().ok())
        {
            return Ok(number);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Returns the processor time of a thread, user and system together, in ticks.
fn processor_time(folder: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(folder.join("stat"))?;
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The times are fields 14 and 15. The first field after the name is field 3.
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok());
    Ok(field(14).unwrap_or(0) + field(15).unwrap_or(0))
}

/// Returns the processor time of a process with its children that run, in microseconds. While one
/// of their threads is ready to run, all the time since the host's start counts too: it may have
/// waited so long, and a server that other programs keep from a processor does not hang.
// specs: H1
pub(super) fn processor_demand(process: u32) -> u64 {
    let family = family_of(process);
    let used: u64 = family.iter().copied().map(processor_time_of).sum();
    let waits = family.iter().copied().any(is_ready);
    used + if waits { micros(clock_gettime(ClockId::Boottime)) } else { 0 }
}

fn micros(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

/// Returns a process and its children that run.
fn family_of(process: u32) -> Vec<u32> {
    let mut family = vec![process];
    let mut next = 0;
    while let Some(member) = family.get(next) {
        let children = fs::read_to_string(format!("/proc/{member}/task/{member}/children"));
        let children = children.unwrap_or_default();
        family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        next += 1;
    }
    family
}

/// Returns whether a thread of a process runs, or waits for a processor (state R of proc(5)).
fn is_ready(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.into_iter().any(|text| {
        text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('R'))
    })
}

/// Returns the processor time of a process, or 0 if it is gone.
fn processor_time_of(process: u32) -> u64 {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: both calls write to nothing but the live local that they are given.
    let done = unsafe {
        libc::clock_getcpuclockid(process as libc::pid_t, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    if done { time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000 } else { 0 }
}

/// Returns the kernel's name of a system call.
pub(super) fn call_name(number: i64) -> String {
    let known = usize::try_from(number).ok().and_then(syscalls::Sysno::new);
    known.map_or_else(|| format!("system call {number}"), |call| call.name().to_string())
}

/// Returns the stack pointer and the instruction pointer of a running thread, which is stopped for
/// a moment.
fn peek_registers(thread: u32) -> Option<(u64, u64)> {
    let thread = thread as libc::pid_t;
    // SAFETY: ptrace with these requests writes only to the live structure of registers; the thread
    // is seized by this thread, which lets it go again.
    unsafe {
        if libc::ptrace(libc::PTRACE_SEIZE, thread, 0, 0) != 0 {
            return None;
        }
        let mut found = None;
        if libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0) == 0 {
            let mut status = 0;
            if libc::waitpid(thread, &raw mut status, libc::__WALL) == thread {
                let mut registers: libc::user_regs_struct = std::mem::zeroed();
                let asked = libc::ptrace(libc::PTRACE_GETREGS, thread, 0, &raw mut registers);
                found = (asked == 0).then_some((registers.rsp, registers.rip));
            }
        }
        libc::ptrace(libc::PTRACE_DETACH, thread, 0, 0);
        found
    }
}

/// Names the innermost place on the stack that does more than pass a call on.
fn caller(maps: &Maps, process: u32, stack: u64, instruction: u64) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let mut space = vec![0; STACK_BYTES];
    let length = memory.read_at(&mut space, stack).unwrap_or(0);
    let words = space[..length].chunks_exact(8);
    let words = words.map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
    if !only_passes_on(maps, instruction)
        && let Some(place) = maps.at(instruction)
    {
        return Some(place.name_place(&root_of(process), instruction));
    }
    let caller = caller_among(maps, process, &words.collect::<Vec<_>>());
    caller.or_else(|| Some(maps.at(instruction)?.name_place(&root_of(process), instruction)))
}

/// Names the innermost caller among words of a stack that does not only pass a call on.
pub(super) fn caller_among(maps: &Maps, process: u32, stack: &[u64]) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let returns = stack.iter().copied().filter(|address| is_behind_call(&memory, *address));
    returns
        .filter(|address| !only_passes_on(maps, *address))
        .find_map(|address| Some(maps.at(address)?.name_place(&root_of(process), address)))
}

/// Returns whether an address lies in a library that makes calls for others.
pub(super) fn only_passes_on(maps: &Maps, address: u64) -> bool {
    let path = maps.at(address).map(|mapped| &mapped.path);
    path.is_some_and(|path| PASSING.iter().any(|name| path.contains(name)))
}

/// Returns the directory of the files as a process sees them.
pub(super) fn root_of(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root"))
}

/// Returns whether the instruction before an address is a call, so that the address may be a return
/// address.
fn is_behind_call(memory: &fs::File, address: u64) -> bool {
    let mut before = [0; 7];
    let Some(start) = address.checked_sub(7) else { return false };
    if memory.read_exact_at(&mut before, start).is_err() {
        return false;
    }
    // The instruction is opcode E8 with 4 more bytes, or opcode FF /2 with 1, 2, 5 or 6 more.
    let indirect = |place: usize| before[place] == 0xff && before[place + 1] >> 3 & 7 == 2;
    before[2] == 0xe8 || [5, 4, 1, 0].into_iter().any(indirect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names() {
        assert_eq!(call_name(0), "read");
        assert_eq!(call_name(libc::SYS_futex), "futex");
        assert_eq!(call_name(99_999), "system call 99999");
    }

    #[test]
    fn a_process_that_is_ready_to_run_demands_a_processor_and_a_stopped_one_does_not() {
        use std::process::{Command, Stdio};

        use rustix::process::{Pid, Signal, kill_process};

        let loops = "while :; do :; done & wait";
        let mut parent =
            Command::new("sh").args(["-c", loops]).stdin(Stdio::null()).spawn().unwrap();
        let process = parent.id();
        let seen = |what: &dyn Fn() -> bool| {
            (0..500).any(|_| {
                what() || {
                    std::thread::sleep(Duration::from_millis(10));
                    false
                }
            })
        };
        assert!(seen(&|| family_of(process).len() == 2));
        let child = family_of(process)[1];
        assert!(seen(&|| is_ready(child) && !is_ready(process)));
        let [first, second] = [(); 2].map(|()| {
            std::thread::sleep(Duration::from_millis(20));
            processor_demand(process)
        });
        assert!(first < second);
        let signal = |signal| {
            kill_process(Pid::from_raw(child as i32).unwrap(), signal).unwrap();
        };
        signal(Signal::STOP);
        assert!(seen(&|| !is_ready(child)));
        // The stop wakes the parent for a moment.
        let demands = || [(); 2].map(|()| processor_demand(process));
        let at_rest = || matches!(demands(), [one, other] if one == other && one < first);
        assert!(seen(&at_rest), "only what was used counts: {:?}, {first} before", demands());
        signal(Signal::KILL);
        parent.wait().unwrap();
    }

    #[test]
    fn a_sleeping_thread_and_its_caller_are_named() {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("sleeper".into())
            .spawn(move || {
                // SAFETY: gettid has no arguments.
                sender.send(unsafe { libc::gettid() }).unwrap();
                std::thread::sleep(Duration::from_secs(20));
            })
            .unwrap();
        let thread = receiver.recv().unwrap() as u32;
        std::thread::sleep(Duration::from_millis(50));
        let seen = inspect(std::process::id(), thread).unwrap();
        assert_eq!(seen.name, "sleeper");
        assert!(matches!(&seen.activity, Activity::InCall(call) if call.contains("nanosleep")));
        let place = seen.place.expect("a place");
        assert!(place.contains(" in crane_linux-"), "{place}");
    }

    #[test]
    fn a_thread_that_computes_is_told_from_one_that_waits() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let end = stop.clone();
        let thread = std::thread::spawn(move || {
            // SAFETY: gettid has no arguments.
            sender.send(unsafe { libc::gettid() }).unwrap();
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let number = receiver.recv().unwrap() as u32;
        // A busy machine may give the thread no processor time for a while.
        let mut seen = inspect(std::process::id(), number).unwrap();
        for _ in 0..20 {
            if seen.activity == Activity::Computes {
                break;
            }
            seen = inspect(std::process::id(), number).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        thread.join().unwrap();
        assert_eq!(seen.activity, Activity::Computes);
    }
}
