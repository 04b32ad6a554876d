//! `crane-linux`: runs an unmodified server program as a replicated service.
//!
//! The command is this library's [`run`], which the binary calls. Only [`decoders`] is public
//! beside it.
//!
//! | room | thought |
//! |---|---|
//! | `options`, `help`, `names`, `addresses` | the command line, its long texts; the members on it; clients' addresses |
//! | `library` | the preload library, which is a part of the program |
//! | `floor` | whether this host can order calls that no function of libc's makes |
//! | `own_output` | the files that this command's own events go to |
//! | `start`, `upgraded`, `join`, `local` | a replica; which one of its group it is; a group on one machine |
//! | `group` | a group as seen from outside: whom to ask, and orders to its primary |
//! | `status`, `primary`, `member` | how a group is; who leads it; who belongs to it |
//! | `restart`, `upgrade` | the server's restart on all replicas, with another program perhaps |
//! | `server_program`, `program` | the server's commands; a look at one, and its base here |
//! | `server_user` | the user that the server runs as |
//! | `show`, `cut` | what a log holds; taking its front off |
//! | `diff`, [`frozen`], `symbols` | where two servers parted; what each did last; places by name |
//! | [`driver`] | a replica as a state machine over the machines of the core, without I/O |
//! | [`host`] | the loop around it: real links, files, sockets, and the server's process |
//! | [`net`] | links to the other replicas, and questions |
//! | `keys` | the keys by which replicas and operators know each other |
//! | [`proxy`] | the clients |
//! | [`log`] | the replicated log on disk |
//! | [`cell`] | the namespaces and files that the server runs in |
//! | [`checkpoint`] | checkpoints of the server: stored, ordered, listed; and the CRIU for them |
//! | [`base`], `meta` | what all replicas start from; what a data directory says of itself |
//! | `neighbours` | the data directories of this host, which no server sees |
//! | `urgent` | real-time priority for what others wait for |
//! | `event` | what a replica did, typed and counted |
//! | `roster` | who the members are and where they are reached |
//! | `simulation` | whole groups of daemons in one thread, for tests |

mod addresses;
mod base;
mod cell;
mod checked_file;
mod checkpoint;
mod clock;
mod cut;
mod diff;
mod driver;
mod event;
mod figures;
mod floor;
mod frozen;
mod group;
mod help;
mod host;
mod join;
mod keys;
mod library;
mod local;
mod log;
mod member;
mod meta;
mod names;
mod neighbours;
mod net;
mod options;
mod own_output;
mod primary;
mod program;
mod proxy;
mod reach;
mod report;
mod restart;
mod restored;
mod roster;
mod server_program;
mod server_user;
mod show;
mod signal;
mod signal_name;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod start;
mod status;
mod symbols;
mod terminal;
mod thread_mutex;
mod upgrade;
mod upgraded;
mod urgent;
mod verdict;

/// The decoders of bytes from outside: from peers, the control socket, the disk and the command
/// line. They are public only for the fuzz targets.
pub mod decoders {
    pub use crate::base::{Base, BasePart};
    pub use crate::checkpoint::assembly::Assembly;
    pub use crate::checkpoint::index::Index;
    pub use crate::frozen::{
        CallDifference, FrozenBlock, FrozenCall, FrozenCalls, Parting, ServerHistory, compare,
    };
    pub use crate::keys::file::check_key_file;
    pub use crate::log::fetch::LogFiles;
    pub use crate::log::{Front, Log, LogError, Lookup, Opened, describe, record, segment_path};
    pub use crate::meta::{DataDirectory, Meta};
    pub use crate::names::member_names;
    pub use crate::net::first::{question, read_hello};
    pub use crate::net::message::{FetchedEntry, Received, read_message, write_message};
    pub use crate::net::query::Query;
    pub use crate::net::{frame, handshake, ops};
    pub use crate::options::{Priority, parse_time, parse_variable};
    pub use crate::report::{CallsMessage, Ending, ServerReport};
    pub use crate::roster::{Roster, RosterMember};
}

use clap::CommandFactory;

use log::args::LogCommands;
use options::{Cli, PrimaryCommands, Subcommands};

/// Whether windows, segments and memory are small, so that tests and simulation fill them.
pub(crate) const LIMITS_ARE_SMALL: bool = cfg!(any(test, feature = "simulation"));

/// Runs the command: parses the command line, carries it out, and ends the process.
pub fn run() -> ! {
    if cfg!(feature = "simulation") {
        terminal::complain("this build can only be simulated; build it without that feature");
        std::process::exit(2);
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == cell::SUBCOMMAND) {
        cell::launch::run();
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == checkpoint::SUBCOMMAND) {
        checkpoint::probe::run();
    }
    if std::env::args_os().nth(1).is_some_and(|word| word == cell::dump::SUBCOMMAND) {
        cell::dump::run();
    }
    let cli = options::parse();
    let status = match (&cli.command, cli.replica.local) {
        (Some(Subcommands::Status(args)), _) => status::run(args),
        (Some(Subcommands::Log(LogCommands::Show { data_dir })), _) => show::run(data_dir, true),
        (Some(Subcommands::Log(LogCommands::Verify { data_dir })), _) => show::run(data_dir, false),
        (
            Some(Subcommands::Log(LogCommands::Cut { data_dir, behind, keys, insecure_peers })),
            _,
        ) => cut::run(data_dir, *behind, keys.as_deref(), *insecure_peers),
        (Some(Subcommands::Diff(args)), _) => diff::run(args),
        (Some(Subcommands::Primary(PrimaryCommands::Move(args))), _) => primary::run(args),
        (Some(Subcommands::Restart(args)), _) => restart::run(args),
        (Some(Subcommands::Signal { signal, group }), _) => signal::run(*signal, group),
        (Some(Subcommands::Upgrade(args)), _) => upgrade::run(args),
        (Some(Subcommands::Checkpoint(command)), _) => checkpoint::run(command),
        (Some(Subcommands::Member(command)), _) => member::run(command),
        (Some(Subcommands::Keys(command)), _) => keys::command::run(command),
        (None, _) if cli.replica.program.is_empty() && cli.replica.witness.is_empty() => {
            let missing = clap::error::ErrorKind::MissingRequiredArgument;
            Cli::command().error(missing, "give the server's program after --").exit()
        }
        (None, Some(count)) => local::run(&cli.replica, count),
        (None, None) if cli.replica.peers.is_empty() => {
            let missing = clap::error::ErrorKind::MissingRequiredArgument;
            Cli::command().error(missing, "give --peers A,B,C or --local N").exit()
        }
        (None, None) => start::run(cli.replica),
    };
    std::process::exit(status);
}
