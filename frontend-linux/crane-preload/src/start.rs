//! From the dynamic linker to the program's first instruction.
//!
//! Without `CRANE_REGION` in the environment the library does nothing. With it, the process ends
//! with a message if anything is wrong, because a server that ran unreplicated would be worse.

use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write;
use std::ptr;

use crane_core::execution::turn::ThreadId;
use crane_core::id::Incarnation;
use crane_core::wire::{Genesis, Schedule};
use crane_shm::region::script;
use crane_shm::{RingReader, ServerSide, ServerState, sys};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::capacities::{LISTENERS, THREADS};
use crate::execution::ProgramExecution;
use crate::family::{Makers, Stops};
use crate::figures;
use crate::fork;
use crate::hooks::sockets::FIRST_PORT;
use crate::hooks::time::{self, monotonic};
use crate::hooks::{exits, files, numbered, open_files, sigmask};
use crate::inbox::Inbox;
use crate::inherited;
use crate::kept::{KeptGenesis, OwnVariables, PRELOAD, REGION, SERVICE, WAKE};
use crate::known_files::KnownFiles;
use crate::memory;
use crate::net::{self, Answers};
use crate::numbers::use_numbers;
use crate::output::Output;
use crate::posting;
use crate::processes::{self, ProgramProcesses};
use crate::processors::{self, ProcessorSet};
use crate::service::{self, LargeTables};
use crate::signals::{self, stack};
use crate::successor;
use crate::timers::Timers;
use crate::trouble::{self, Text};
use crate::turn;
use crate::unix::UnixSockets;
use crate::world::{self, NO_THREAD, Outside, World};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = start;

/// Exit status when the run cannot begin: `EX_SOFTWARE` of sysexits(3).
const CANNOT_START: u8 = 70;

/// Ends the process, whose run cannot begin for this reason.
pub(crate) fn refuse(why: &str) -> ! {
    trouble::end(CANNOT_START, &format!("this server cannot run replicated: {why}"))
}

/// The report of a kernel without the net.
const NO_NET: &str = "this kernel lets no program watch its own calls (Syscall User Dispatch, \
    since Linux 5.11): those that bypass crane are not reported here";

/// The first constructor to run (see build.rs), before libc's own. It gets the environment as its
/// argument only. Nothing may allocate before the world exists, because the allocator would ask for
/// the time.
extern "C" fn start(_: c_int, _: *mut *mut c_char, environment: *mut *mut c_char) {
    let region = take_variable(environment, REGION);
    let wake = take_variable(environment, WAKE);
    let service = take_variable(environment, SERVICE);
    let (Some(region), Some(wake)) = (region, wake) else { return };
    // Programs that the server starts take no part, and the server need not see how it was started.
    let preload = take_variable(environment, PRELOAD).map_or(&b""[..], CStr::to_bytes);
    let (library, others) = first_library(preload);
    give_back_variable(environment, others);
    begin([region, wake], service, library);
}

/// Does the same as [`start`] where this library, which lies at a path, is the program itself.
pub(crate) fn begin_as_program(environment: *mut *mut c_char, library: &'static CStr) {
    let region = take_variable(environment, REGION);
    let wake = take_variable(environment, WAKE);
    let service = take_variable(environment, SERVICE);
    let (Some(region), Some(wake)) = (region, wake) else {
        trouble::end(CANNOT_START, "this is a library of crane-linux, and no program");
    };
    begin([region, wake], service, library.to_bytes());
}

fn begin(daemons: [&'static CStr; 2], service: Option<&'static CStr>, library: &[u8]) {
    trouble::report_panics();
    if let Err(message) = take_part(daemons, service, library) {
        refuse(&message);
    }
}

/// Splits a value of `LD_PRELOAD` into this library and others that were to be loaded with it.
fn first_library(value: &'static [u8]) -> (&'static [u8], &'static [u8]) {
    let end = value.iter().position(|byte| b": ".contains(byte)).unwrap_or(value.len());
    let (library, rest) = value.split_at(end);
    (library, rest.get(1..).unwrap_or_default())
}

/// Puts `LD_PRELOAD` with the program's own libraries back into the environment, in places that
/// [`take_variable`] has freed.
fn give_back_variable(environment: *mut *mut c_char, libraries: &'static [u8]) {
    if libraries.is_empty() {
        return;
    }
    let mut end = environment;
    // SAFETY: the environment ends with a null pointer, behind which there is room for the three
    // pointers that were taken out. The libraries' names are the rest of the variable's own string,
    // which execve has written and which ends with a zero byte; before them there is the path of
    // this library, and before that the same name that is written here, so it fits.
    unsafe {
        while !(*end).is_null() {
            end = end.add(1);
        }
        let start = libraries.as_ptr().cast_mut().sub(PRELOAD.len());
        ptr::copy(PRELOAD.as_ptr(), start, PRELOAD.len());
        *end = start.cast();
        *end.add(1) = ptr::null_mut();
    }
}

/// Removes a variable from the environment, and returns its value.
pub(crate) fn take_variable(environment: *mut *mut c_char, prefix: &[u8]) -> Option<&'static CStr> {
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

/// The number of sleeps of at most a second after which the library gives up a script without a
/// genesis entry.
const SLEEPS: u32 = 60;

/// Takes the genesis entry, with which the script of a first program begins. The program may begin
/// before the daemon has written it: a replica that returns reads it from its disk.
fn take_genesis(
    region: ServerSide,
    script: &mut RingReader,
) -> Result<(Incarnation, KeptGenesis), String> {
    for _ in 0..SLEEPS {
        region.await_script(1_000_000_000, || !matches!(script.peek(), Ok(None)));
        if !matches!(script.peek(), Ok(None)) {
            break;
        }
    }
    let record = script.peek().map_err(|error| format!("script: {error}"))?;
    let record = record.ok_or("the daemon has written no genesis entry for a minute")?;
    if record.kind != script::GENESIS {
        return Err(format!("the script begins with a record of kind {}", record.kind));
    }
    let [slot, incarnation, _] = record.numbers;
    region.set_admitted(slot);
    let incarnation = u32::try_from(incarnation).ok().filter(|number| *number > 0);
    let incarnation = incarnation.ok_or("the genesis entry is of no incarnation")?;
    let kept = KeptGenesis::new(record.bytes).ok_or("the genesis entry is too long")?;
    script.pop();
    Ok((Incarnation(incarnation), kept))
}

/// Puts the state of the run in place, before its first program, and gives its first thread the
/// turn. The state is made on the stack, which programs that come later need not touch.
#[inline(never)]
fn create(
    region: ServerSide,
    wake: c_int,
    own: OwnVariables,
) -> Result<(&'static mut World, ThreadId), String> {
    // SAFETY: one process of the server makes the ends, once.
    let (mut script, output) = unsafe { region.ends() };
    let (incarnation, kept) = take_genesis(region, &mut script)?;
    let genesis = decode(&kept)?;
    region.set_state(ServerState::Running);
    // SAFETY: the memory was just made.
    let LargeTables { connections, descriptors, watches, of_conn, rings } =
        unsafe { service::tables() };
    // SAFETY: as above.
    let inbox = unsafe { Inbox::new(service::rings(), rings) };
    use_numbers(service::numbers(0));
    let place = service::world();
    let world = World {
        run: ProgramExecution::with_table(
            connections,
            incarnation,
            genesis.quantum,
            genesis.timestamp,
        ),
        inbox,
        descriptors,
        of_conn,
        of_listener: [0; LISTENERS],
        outside: Outside::NONE,
        timers: Timers::new(),
        watches,
        output: Output::new(output, region, wake),
        script,
        region,
        random: random(genesis.seed, incarnation),
        start: genesis.timestamp,
        leaving: 0,
        threads: [NO_THREAD; THREADS],
        processes: ProgramProcesses::new(sys::pid()),
        makers: Makers::new(),
        stops: Stops::new(),
        awaited: 0,
        next_port: FIRST_PORT,
        unix: UnixSockets::new(),
        service: genesis.service,
        genesis: kept,
        own,
        joined: None,
        copy: [0; 64 * 1024],
        forked: false,
        noted: [0; 64],
        known: KnownFiles::new(),
    };
    // SAFETY: fresh memory of this size, aligned to a page, that stays to the end of the process.
    let world = unsafe {
        place.write(world);
        &mut *place
    };
    // Processes whose parents have ended stay below this one, which an image begins with.
    // SAFETY: prctl with this option touches no memory.
    unsafe {
        sys::syscall(libc::SYS_prctl, [libc::PR_SET_CHILD_SUBREAPER as usize, 1, 0, 0, 0, 0])
    };
    let first = world.run.turn.reserve().ok_or("no thread numbers")?;
    world.run.turn.start(first);
    if world.run.pass() != Some(first) {
        return Err("the first thread does not get the turn".into());
    }
    Ok((world, first))
}

fn decode(kept: &KeptGenesis) -> Result<Genesis, String> {
    Genesis::decode(kept.bytes()).map_err(|error| format!("genesis: {error}"))
}

/// Makes the memory that all processes share. Returns the library's variables.
fn make_service([region, wake]: [&CStr; 2], library: &[u8]) -> Result<OwnVariables, String> {
    let memory = service::make().map_err(|error| {
        format!("no memory that its processes share (5 GiB, used as needed): error {error}")
    })?;
    inherited::keep_service(memory).map_err(|error| format!("no descriptor: error {error}"))?;
    let mut number = Text::new();
    // It is short.
    let _ = write!(number, "{}", inherited::service());
    let number = number.as_str().as_bytes();
    OwnVariables::new(library, region.to_bytes(), wake.to_bytes(), number)
        .ok_or_else(|| "the path of the data directory is too long".into())
}

fn take_part(
    daemons: [&'static CStr; 2],
    memory: Option<&'static CStr>,
    library: &[u8],
) -> Result<(), String> {
    let region = inherited::map_region(daemons[0])?;
    world::set_region(region);
    let wake = inherited::keep(daemons[1])?;
    if memory.is_none() {
        refuse_io_uring();
    }
    let (world, me, legacy) = match memory {
        Some(memory) => {
            let (world, legacy) = successor::attach(memory)?;
            (world, legacy.thread, Some(legacy))
        }
        None => {
            let own = make_service(daemons, library)?;
            let (world, me) = create(region, wake, own)?;
            (world, me, None)
        }
    };
    let genesis = decode(&world.genesis)?;
    signals::use_table(service::posted());
    memory::use_table(service::objects());
    if let Some(legacy) = legacy {
        successor::begin(world, me);
        processors::set_wish(Some(me), ProcessorSet(legacy.processors));
        open_files::set_hard(legacy.open_files);
        files::forget_closed(world);
    }
    // SAFETY: pthread_self only reads.
    world.threads[me.0 as usize].handle = unsafe { libc::pthread_self() };
    figures::set(genesis.figures);
    crate::hooks::threads::prepare();
    fork::prepare();
    let schedule = genesis.schedule;
    if cfg!(feature = "arrival") {
        world.output.note(1, "this build is for tests: it admits ops when they arrive");
    }
    if region.has_floor() {
        let (has_hook, answer) = (numbered::has_hook, numbered::answer);
        let (clock, deliver) = (time::read_quietly, turn::deliver_due);
        let before_mask = sigmask::before_change;
        net::answer_by(Answers { has_hook, answer, clock, deliver, before_mask });
    }
    posting::end_by(exits::end_thread_by_signal);
    processes::on_death(exits::on_death);
    processes::look_by(exits::look_for_deaths);
    stack::begin(me);
    crate::hooks::threads::prepare_bases();
    if let Some(unwatched) = watch(region, wake) {
        let needed = [(region.is_strict(), "--strict"), (region.has_floor(), "a floor")];
        if let Some((_, option)) = needed.iter().find(|(is_needed, _)| *is_needed) {
            return Err(format!("{}, so {option} cannot hold here", unwatched.as_str()));
        }
        world.output.note(1, unwatched.as_str());
    }
    agree_on_vector(world);
    world::establish(world, schedule);
    turn::begin_first(me);
    assert!(schedule == Schedule::Serial || schedule == Schedule::Parallel);
    Ok(())
}

/// Has the net see the calls that bypass the hooks, and the clocks that are read without a call.
/// Returns what it will not see, and why.
fn watch(region: ServerSide, wake: i32) -> Option<Text> {
    let mut unwatched = Text::new();
    // A text that is cut is better than none.
    let _ = match net::spread(region, wake, service::sites()) {
        Err(error) => write!(unwatched, "{NO_NET} (error {error})"),
        Ok(()) => match net::watch_clocks(region, monotonic) {
            Ok(()) => return None,
            Err(why) => {
                write!(unwatched, "{why}: clocks that are read without libc are not reported here")
            }
        },
    };
    Some(unwatched)
}

/// Writes agreed random bytes in the place of the kernel's, to which the auxiliary vector leads
/// (getauxval(3), `AT_RANDOM`). The dynamic linker has taken its own from there already.
fn agree_on_vector(world: &mut World) {
    const BYTES: usize = 16;
    // SAFETY: reads a vector that the kernel made for the process.
    let place = unsafe { libc::getauxval(libc::AT_RANDOM) } as *mut [u8; BYTES];
    // SAFETY: the kernel's bytes lie on the first thread's stack, above all frames, and no other
    // code runs yet.
    if let Some(bytes) = unsafe { place.as_mut() } {
        world.random.fill_bytes(bytes);
    }
}

/// Returns the agreed random numbers, which differ for each incarnation of the server.
fn random(seed: [u8; 32], incarnation: Incarnation) -> ChaCha20Rng {
    let mut random = ChaCha20Rng::from_seed(seed);
    random.set_stream(u64::from(incarnation.0 - Incarnation::FIRST.0) << 32);
    random
}

/// Makes the kernel answer `io_uring_setup` with ENOSYS (seccomp(2)), because its completions would
/// bypass every hook. Servers that ask fall back to calls that have hooks. Children and later
/// programs have the filter as well.
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
    // Where it fails, the filter is not permitted either.
    let _ = rustix::thread::set_no_new_privs(true);
    let arguments =
        [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the filter is alive for the call; the kernel copies it. Where it is not permitted,
    // the server may use io_uring, and `uncovered_calls` does not count it.
    unsafe { sys::syscall(libc::SYS_seccomp, arguments) };
}
