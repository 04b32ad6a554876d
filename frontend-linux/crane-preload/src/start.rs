//! From the dynamic linker to the program's first instruction.
//!
//! Without `CRANE_REGION` in the environment the library does nothing. With it, the process ends
//! with a message if anything is wrong: a server that ran unreplicated would be worse.

use std::ffi::{CStr, c_char, c_int};

use crane_core::execution::Execution;
use crane_core::wire::{Genesis, Schedule};
use crane_shm::region::script;
use crane_shm::{ServerSide, ServerState, sys};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::descriptors::Descriptors;
use crate::execution::{CONNECTIONS, LISTENERS, THREADS};
use crate::inbox::Inbox;
use crate::output::Output;
use crate::trouble;
use crate::turn;
use crate::watch::Watches;
use crate::world::{self, NO_THREAD, World};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = start;

/// Exit status when the run cannot begin: `EX_SOFTWARE` of sysexits(3).
const CANNOT_START: u8 = 70;

/// The daemon's variables in the environment.
const REGION: &[u8] = b"CRANE_REGION=";
const WAKE: &[u8] = b"CRANE_WAKE=";
const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// The first constructor to run (see build.rs), before libc's own: the environment is known by the
/// argument only, and nothing may allocate before the world is made: the allocator would ask
/// for the time.
extern "C" fn start(_: c_int, _: *mut *mut c_char, environment: *mut *mut c_char) {
    let region = take_variable(environment, REGION);
    let wake = take_variable(environment, WAKE);
    let (Some(region), Some(wake)) = (region, wake) else { return };
    // Programs that the server starts are not ours, and it need not see how it was started.
    take_variable(environment, PRELOAD);
    trouble::report_panics();
    if let Err(message) = take_part(region, wake) {
        trouble::end(CANNOT_START, &format!("this server cannot run replicated: {message}"));
    }
}

/// Removes a variable from the environment and gives its value.
fn take_variable(environment: *mut *mut c_char, prefix: &[u8]) -> Option<&'static CStr> {
    let mut place = environment;
    loop {
        // SAFETY: the environment is an array of strings that ends with a null pointer
        // (environ(7)).
        let variable = unsafe { *place };
        if variable.is_null() {
            return None;
        }
        // SAFETY: one of its strings; they stay to the end of the process.
        let variable = unsafe { CStr::from_ptr::<'static>(variable) };
        if variable.to_bytes().starts_with(prefix) {
            break;
        }
        // SAFETY: not the last element.
        place = unsafe { place.add(1) };
    }
    // SAFETY: an element that is not the last.
    let value = unsafe { CStr::from_ptr((*place).add(prefix.len())) };
    loop {
        // SAFETY: up to the null pointer, which is moved as well; nobody else reads it yet.
        unsafe {
            *place = *place.add(1);
            if (*place).is_null() {
                return Some(value);
            }
            place = place.add(1);
        }
    }
}

fn take_part(region: &CStr, wake: &CStr) -> Result<(), String> {
    let region = ServerSide::open(region.to_bytes_with_nul())
        .map_err(|error| format!("cannot map {region:?}: error {error}"))?;
    world::set_region(region);
    let flags = libc::O_WRONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let wake = sys::open(wake.to_bytes_with_nul(), flags, 0)
        .map_err(|error| format!("cannot open {wake:?}: error {error}"))?;
    let wake = move_fd_high(wake);
    // SAFETY: one process of the server takes part, and its ends are made once.
    let (mut script, output) = unsafe { region.ends() };
    let genesis = {
        let record = script.peek().map_err(|error| format!("script: {error}"))?;
        let record = record.ok_or("the script is empty; genesis comes first")?;
        if record.kind != script::GENESIS {
            return Err(format!("the script begins with a record of kind {}", record.kind));
        }
        region.set_admitted(record.numbers[0]);
        Genesis::decode(record.bytes).map_err(|error| format!("genesis: {error}"))?
    };
    script.pop();
    refuse_io_uring();
    region.set_state(ServerState::Running);
    let inbox = Inbox::new(CONNECTIONS).map_err(|error| format!("no memory: error {error}"))?;
    let place = map_world().map_err(|error| format!("no memory: error {error}"))?;
    let world = World {
        run: Execution::new(genesis.quantum, genesis.timestamp),
        inbox,
        descriptors: Descriptors::new(),
        of_conn: [0; CONNECTIONS],
        of_listener: [0; LISTENERS],
        watches: Watches::new(),
        output: Output::new(output, region, wake),
        script,
        region,
        random: ChaCha20Rng::from_seed(genesis.seed),
        start: genesis.timestamp,
        leaving: 0,
        threads: [NO_THREAD; THREADS],
        next_port: 40_000,
        copy: [0; 64 * 1024],
        noted: [""; 16],
    };
    // SAFETY: fresh memory of this size, aligned to a page, that stays to the end of the process.
    let world = unsafe {
        place.write(world);
        &mut *place
    };
    let first = world.run.turn.reserve().ok_or("no thread numbers")?;
    world.run.turn.start(first);
    if world.run.turn.pass() != Some(first) {
        return Err("the first thread does not get the turn".into());
    }
    // SAFETY: pthread_self only reads.
    world.threads[first.0 as usize].handle = unsafe { libc::pthread_self() };
    crate::hooks::threads::prepare();
    let schedule = genesis.schedule;
    if cfg!(feature = "arrival") {
        world.output.note(1, "this build is for tests: it admits ops when they arrive");
    }
    world::establish(world, schedule);
    turn::begin_first(first);
    assert!(schedule == Schedule::Serial || schedule == Schedule::Parallel);
    Ok(())
}

/// Memory for the world; not from the allocator, which may be a library that asks for the time.
fn map_world() -> Result<*mut World, i32> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
    let arguments = [0, size_of::<World>(), protection, flags, usize::MAX, 0];
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = sys::checked(unsafe { sys::syscall(libc::SYS_mmap, arguments) })?;
    Ok(start as *mut World)
}

/// Moves the descriptor to a high number, so that the server's own begin at 3 as without us.
fn move_fd_high(descriptor: i32) -> i32 {
    for floor in [65_000, 4_000, 1_000, 200] {
        let arguments = [descriptor as usize, libc::F_DUPFD_CLOEXEC as usize, floor, 0, 0, 0];
        // SAFETY: fcntl(F_DUPFD_CLOEXEC) touches no memory.
        if let Ok(moved) = sys::checked(unsafe { sys::syscall(libc::SYS_fcntl, arguments) }) {
            // Nothing can be done about a close that fails.
            let _ = sys::close(descriptor);
            return moved as i32;
        }
    }
    descriptor
}

/// Lets the kernel answer `io_uring_setup` with ENOSYS: its completions would bypass every hook,
/// and servers that ask fall back to calls that we see (seccomp(2)).
fn refuse_io_uring() {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let give = libc::BPF_RET | libc::BPF_K;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let number = libc::SYS_io_uring_setup as u32;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let filter = [
        statement(load, 0),
        libc::sock_filter { code: equal, jt: 0, jf: 1, k: number },
        statement(give, refuse),
        statement(give, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let arguments = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0];
    // SAFETY: prctl(PR_SET_NO_NEW_PRIVS) touches no memory.
    unsafe { sys::syscall(libc::SYS_prctl, arguments) };
    let arguments =
        [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the filter is alive for the call; the kernel copies it. Where it is not permitted,
    // the server may use io_uring, and `uncovered_calls` does not count it.
    unsafe { sys::syscall(libc::SYS_seccomp, arguments) };
}
