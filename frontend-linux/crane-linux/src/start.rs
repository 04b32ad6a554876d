//! From a command line to a running replica. Everything that can be refused is checked here, before
//! any other replica notices.

use std::fs;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crane_core::paxos::{Node, StorageEpoch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{LocalSet, spawn_local};
use tracing::{info, warn};
use tracing_subscriber::fmt::MakeWriter;

use crate::addresses::ClientAddresses;
use crate::base::{Base, DEFAULT_DIRECTORY};
use crate::cell::Spec;
use crate::checkpoint::arrived;
use crate::checkpoint::criu::Criu;
use crate::checkpoint::store;
use crate::clock::{Clock, unix_nanoseconds};
use crate::driver::{Restored, Settings, WINDOW};
use crate::figures;
use crate::host::{self, HostParts};
use crate::join::{self, JoinReply};
use crate::keys::place;
use crate::keys::subject::Subject;
use crate::library;
use crate::log::Opened;
use crate::log::damage;
use crate::log::storage::Storage;
use crate::meta::{DATA_VERSION, DataDirectory, Meta};
use crate::names;
use crate::neighbours;
use crate::net::control;
use crate::net::link::Arrivals;
use crate::net::peers::Peers;
use crate::net::tls::Access;
use crate::options::{Durability, PEER_PORT, ReplicaArgs, ScheduleArg};
use crate::program::ProgramContext;
use crate::proxy;
use crate::reach;
use crate::restored;
use crate::roster::Roster;
use crate::terminal::{LogLevel, advise, complain};
use crate::upgraded;
use crate::urgent::Precedence;

/// Runs a replica, and returns the exit status.
pub(crate) fn run(args: ReplicaArgs) -> i32 {
    start_events(args.log_level, std::io::stderr);
    allow_many_clients();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome =
        runtime.map_err(|error| format!("cannot start the runtime: {error}")).and_then(|runtime| {
            LocalSet::new().block_on(&runtime, async {
                let prepared = prepare(args).await?;
                serve(prepared).await
            })
        });
    match outcome {
        Ok(status) => status,
        Err(why) => {
            complain(&why);
            1
        }
    }
}

/// Returns the default data directory for a program.
pub(crate) fn default_directory(program: &str) -> PathBuf {
    let name = Path::new(program).file_name().unwrap_or_else(|| program.as_ref());
    Path::new(DEFAULT_DIRECTORY).join(name)
}

/// Sends events to `writer`: the daemon's own, and the core's, which arrive by the `log` crate.
fn start_events<W>(level: LogLevel, writer: W)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_max_level(level.level())
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(writer)
        .init();
}

/// Raises the limit of open descriptors as far as this host allows: each client takes one. The
/// server has a limit of its own.
fn allow_many_clients() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes to, then reads from, a live structure.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// A replica that has passed all checks.
struct Prepared {
    args: ReplicaArgs,
    meta: Meta,
    /// The list of members that others have sent, if it is newer than that of the log here.
    heard: Roster,
    /// Whether the replica is new in a group that already exists.
    joins: bool,
    /// The addresses at which the replica listens for clients.
    addresses: ClientAddresses,
    /// How to look at another program of the server.
    context: ProgramContext,
    /// How to start the server; `None` for a witness.
    spec: Option<Spec>,
    base: Base,
    data: DataDirectory,
    /// How this replica and the others know each other.
    access: Access,
}

/// Checks the command line against this host, the data directory, and the group if there is one.
async fn prepare(mut args: ReplicaArgs) -> Result<Prepared, String> {
    let (floor, lacks) = args.floor.settle()?;
    args.floor = floor;
    if let Some(lacks) = lacks {
        warn!("{lacks}: calls that the server makes without libc's functions are not ordered");
    }
    let names = names::member_names(&args.peers, args.peer_port)?;
    let (place, address) = names::identify(&names, args.me.as_deref(), args.peer_port)?;
    let own = names[usize::from(place) - 1].clone();
    let access = access(&args, &names, &own)?;
    args.keys = access.path().map(Path::to_path_buf);
    let addresses = ClientAddresses::of(address.ip(), &args.listen, &args.service_address)?;
    let program = args.program.first().map_or("witness", |name| name);
    let data =
        DataDirectory::open(&args.data_dir.clone().unwrap_or_else(|| default_directory(program)))?;
    neighbours::add(&data.path);
    let known = data.meta()?;
    if let Some(known) = &known
        && (known.address != own || !known.fits(&names))
    {
        return Err(format!(
            "data directory {} belongs to {}, replica {} of the group {}; give these as --peers \
             and --self, or another --data-dir",
            data.path.display(),
            known.address,
            known.node,
            known.roster
        ));
    }
    let (mut joins, mut heard) = (false, Roster::default());
    let mut meta = match known {
        Some(known) => {
            heard = join::catch_up(&access, &names, &known).await?;
            known
        }
        None => {
            for name in &names {
                names::resolve(name)?;
            }
            let reply = join::ask(&access, &names, &own).await;
            let JoinReply { group, node, witness, founders, roster } = match reply {
                Some(reply) => reply,
                None => JoinReply::founding(&names, place, &args)?,
            };
            joins = group.is_some();
            let (version, given, generation) = (DATA_VERSION, names.clone(), 0);
            let address = own;
            Meta {
                version,
                group,
                node,
                address,
                witness,
                founders,
                roster,
                given,
                generation,
                diverged_behind: None,
                restart: None,
                command: args.program.clone(),
                upgrades: Vec::new(),
            }
        }
    };
    if !meta.witness && args.program.is_empty() {
        return Err(format!(
            "replica {} of the group is no witness; give the server's program after --",
            meta.node
        ));
    }
    meta.generation = meta.next_generation(unix_nanoseconds());
    let directory =
        std::env::current_dir().map_err(|error| format!("working directory: {error}"))?;
    upgraded::adopt(&mut meta, &data, library::digest());
    upgraded::use_program(&mut args, &meta)?;
    let (service, path) = (addresses.service.clone(), data.path.clone());
    let context = ProgramContext { args: args.clone(), service, data: path, directory };
    let (spec, base) = match meta.witness {
        true => (None, Base::default()),
        false => {
            let (spec, base) = context.look(&args.program)?;
            upgraded::check_base(&args.program[0], &base, &meta, &data)?;
            (Some(spec), base)
        }
    };
    Ok(Prepared { args, meta, heard, joins, addresses, context, spec, base, data, access })
}

async fn serve(prepared: Prepared) -> Result<i32, String> {
    let Prepared { args, meta, heard, joins, addresses, context, spec, base, data, access } =
        prepared;
    let mine = names::resolve(&meta.address)?[0];
    let listener = proxy::bind(mine).map_err(|error| {
        format!(
            "{mine}, where the other replicas reach this one, cannot be opened: {error}; stop what \
             uses it, or give another port in --peers"
        )
    })?;
    data.put_meta(&meta)?;
    library::put(&data.run())?;
    let control = control::bind(&data.run())?;

    let clock = Clock::default();
    let (node, opened, note) = restore(&args, &meta, &data, joins, &clock, &access).await?;
    let (mut log, last_timestamp) = (opened.log, opened.last_timestamp);
    let syncs = args.durability == Durability::Fsync;
    if !syncs {
        log.without_syncs();
    }
    if !args.no_realtime {
        spawn_local(precede());
    }
    let (storage, progress) = Storage::new(&data.log(), syncs);
    let hello = restored::hello(&args, &meta, &base);
    spawn_local(access.clone().keep_current());
    let peers = Peers::new(hello.clone(), Rc::new(Arrivals::new()), access);
    spawn_local(peers.clone().listen(listener));
    spawn_local(control::serve(control, peers.clone()));
    info!(
        "replica {} of {}, in {}{}",
        meta.node,
        meta.roster,
        data.path.display(),
        if meta.witness { ": a witness, without a server" } else { "" }
    );
    let settings = Settings {
        me: meta.node,
        name: meta.address.clone(),
        founders: meta.founders.clone(),
        args: args.clone(),
        base: base.clone(),
        service: addresses.service.clone(),
        figures: figures::of(&args),
        program: spec.as_ref().map(|spec| spec.arguments[0].clone()),
        data: data.path.clone(),
        random: random_bytes().map_err(|error| format!("cannot read random numbers: {error}"))?,
    };
    if args.checkpoint_every.is_some() && args.schedule == ScheduleArg::Parallel {
        return Err("--checkpoint-every: under --schedule parallel, threads run between their \
                    calls, and cannot be held; leave one of the two out"
            .to_string());
    }
    let criu = Criu::find(None).await.map_err(|error| error.to_string());
    if args.checkpoint_every.is_some() {
        // A CRIU that is there need not work on this host.
        let works = match &criu {
            Ok(criu) => criu.probe().await.map(drop).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        works.map_err(|why| format!("--checkpoint-every: {why}"))?;
    }
    let checkpoints = match &meta.group {
        // Without CRIU, servers start from files alone.
        Some(group) if spec.is_some() => {
            store::usable(&data.path, group, criu.is_ok().then(library::digest))
        }
        _ => Vec::new(),
    };
    let restored = Restored { node, log, last_timestamp, meta, hello, heard, checkpoints, note };
    let parts = HostParts {
        addresses,
        context,
        spec,
        base,
        data,
        args,
        criu,
        storage,
        progress,
        peers,
        clock,
    };
    // The replica has a task of its own, so that a wake of another task does not poll the driver.
    let task = spawn_local(host::run(settings, restored, parts, interruption()?));
    let stop = match task.await {
        Ok(outcome) => outcome.map_err(|error| format!("the replica's task failed: {error}"))?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    Ok(match stop {
        None => {
            info!("stopped");
            0
        }
        Some(stop) => {
            if stop.again {
                info!("{}", stop.why);
                return Err(begin_again());
            }
            if stop.status == 0 {
                info!("{}", stop.why);
            } else {
                complain(&stop.why);
            }
            stop.status
        }
    })
}

/// Lets this thread run before other work of this host.
async fn precede() {
    let why = Precedence::default().keep().await;
    info!(
        "this daemon has no real-time priority: {why}; where other work keeps this host's \
         processors busy, answers take longer. --no-realtime leaves this line out"
    );
}

/// Replaces this process by a new one with the same command line. Returns only with the reason why
/// that failed.
fn begin_again() -> String {
    let mut words = std::env::args_os();
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0(words.next().unwrap_or_default()).args(words);
    format!("this replica cannot start again: {}", command.exec())
}

/// Opens the log, and restores agreement from it.
async fn restore(
    args: &ReplicaArgs,
    meta: &Meta,
    data: &DataDirectory,
    joins: bool,
    clock: &Clock,
    access: &Access,
) -> Result<(Box<Node<WINDOW>>, Opened, Option<String>), String> {
    let nonce = unix_nanoseconds().max(1);
    if joins {
        damage::begin_rejoining(&data.log(), StorageEpoch(nonce))?;
    }
    if let Some(slot) = arrived::begin_behind(&data.path)? {
        info!("the log begins behind slot {slot}, with the checkpoint that has arrived");
    }
    let (mut opened, note) = match damage::open(&data.path, meta.group.is_some())? {
        Ok(opened) => (opened, None),
        Err(error) => {
            let voters = reach::await_voters(access, meta).await;
            let (opened, note) =
                damage::begin_without(&data.path, &error, voters, StorageEpoch(nonce))?;
            warn!("{note}");
            (opened, Some(note))
        }
    };
    if opened.torn_bytes > 0 {
        warn!("cut off {} torn bytes at the log's end, left by a crash", opened.torn_bytes);
    }
    let node = restored::node(restored::config(args, meta, nonce), clock.now(), &mut opened);
    Ok((node, opened, note))
}

fn random_bytes<const COUNT: usize>() -> std::io::Result<[u8; COUNT]> {
    use std::io::Read;
    let mut space = [0; COUNT];
    fs::File::open("/dev/urandom")?.read_exact(&mut space)?;
    Ok(space)
}

fn interruption() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Returns how this replica and the others know each other: by the key file of this host, which
/// must be that of its name.
fn access(args: &ReplicaArgs, names: &[String], own: &str) -> Result<Access, String> {
    if args.insecure_peers {
        warn!(
            "--insecure-peers: any program that reaches {own} can act as a replica, and give orders"
        );
        return Ok(Access::Insecure);
    }
    let Some(path) = place::find(args.keys.as_deref()) else {
        advise(&format!(
            "The replicas of a group know each other by keys. Run these two commands once, on one \
             host, and then start the replicas:\n{}",
            place::two_commands(names, PEER_PORT)
        ));
        return Err(format!(
            "this host has no keys ({} is not there); run the two commands above, or give the key \
             file as --keys, or go without keys in a network that you trust: --insecure-peers",
            place::usual_place().display()
        ));
    };
    let path = path.canonicalize().unwrap_or(path);
    let access = Access::by_keys(&path)?;
    match access.identity().map(|identity| identity.subject.clone()) {
        Some(Subject::Member(name)) if name != own => Err(format!(
            "key file {} is that of {name}, and this replica is {own}; put the right file here, or \
             give the right --self",
            path.display()
        )),
        Some(Subject::Operator) => Err(format!(
            "key file {} is that of operators; give that of this host as --keys",
            path.display()
        )),
        _ => Ok(access),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    use crane_core::id::NodeId;
    use crane_core::paxos::{Config, DurableState, Effect, Effects, Input, Members};
    use crane_core::time::Instant;

    static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Lines;

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LINES.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_events_have_the_diagnostics_of_the_core() {
        start_events(LogLevel::Debug, || Lines);
        let config = Config::new(NodeId::new(1).unwrap(), Members::first(1), 7);
        let mut node: Node<8> = Node::restore(config, Instant::START, DurableState::BLANK, []);
        for _ in 0..20 {
            let mut input = Some(Input::Wake);
            while let Some(next) = input {
                let mut out = Effects::new();
                node.step(node.deadline(), next, &mut out);
                let written = out.iter().filter_map(|effect| match effect {
                    Effect::Write { number, .. } => Some(*number),
                    _ => None,
                });
                input = written.max().map(|up_to| Input::Durable { up_to });
            }
        }
        let text = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
        assert!(text.contains("DEBUG node 1: Primary"), "{text}");
    }
}
