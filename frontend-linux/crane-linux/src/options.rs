//! The command line.
//!
//! Length: the options and subcommands form one text, that of --help.

// The comments on options are the text of --help, in which host[:port] is not a link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use crane_core::limits::{NODES_MAX, PROCESSORS_MAX};
use serde::{Deserialize, Serialize};

use crate::checkpoint::every::CheckpointEvery;
use crate::floor::FloorArg;
use crate::help::{
    ADD_HELP, DIFF_HELP, EXAMPLES, KEYS_HELP, PROBE_HELP, RESTART_HELP, SIGNAL_HELP, UPGRADE_HELP,
};
use crate::keys::args::KeysCommands;
use crate::log::args::LogCommands;
use crate::signal_name::SignalName;
use crate::terminal::LogLevel;

/// The default number of files that a server may have open.
pub(crate) const OPEN_FILES: u32 = 16 * 1024;
/// The size of the server's /dev/shm in MiB, unless another one is given.
pub(crate) const SHARED_MEMORY: u32 = 1024;

/// The default port for connections between replicas.
pub(crate) const PEER_PORT: u16 = 6790;

const USAGE: &str = "\
crane-linux [--peers A,B,C [--self X] | --local N] [OPTIONS] -- PROGRAM [ARGS]...
       crane-linux status [--json | --events] [--data-dir D | --peers A,B,C]
       crane-linux member list|add X|remove X|replace X Y [--data-dir D | --peers A,B,C]
       crane-linux keys init A B C|add D|show|rotate
       crane-linux checkpoint now|list|verify D
       crane-linux primary move --to X [--data-dir D | --peers A,B,C]
       crane-linux restart [--data-dir D | --peers A,B,C]
       crane-linux upgrade [--data-dir D | --peers A,B,C] -- PROGRAM [ARGS]...
       crane-linux diff [SIDE SIDE | D]
       crane-linux checkpoint probe [--criu PATH]
       crane-linux log show|verify D
       crane-linux log cut D --behind SLOT";

/// Runs an unmodified server program as a replicated service: several replicas that go through the
/// same states, so that the service survives the loss of a minority of its hosts.
#[derive(Debug, Parser)]
#[command(
    name = "crane-linux",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    override_usage = USAGE
)]
pub(crate) struct Cli {
    /// The subcommand; without one, the command runs a replica.
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    /// The options of a replica.
    #[command(flatten)]
    pub replica: ReplicaArgs,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    /// Shows the state of the group and of each replica.
    Status(StatusArgs),
    /// Shows, verifies or cuts the log in a data directory; works without a running replica.
    #[command(subcommand)]
    Log(LogCommands),
    /// Shows where the servers of two replicas parted: block, call, symbol and library.
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArgs),
    /// Transfers the primary's role to another replica.
    #[command(subcommand)]
    Primary(PrimaryCommands),
    /// Restarts the server on all replicas at one point, on the files that it has written.
    #[command(after_help = RESTART_HELP)]
    Restart(RestartArgs),
    /// Sends the server's program a signal on all replicas at one point, as kill(1) does natively.
    #[command(after_help = SIGNAL_HELP)]
    Signal {
        /// The signal: its name, with or without SIG, or its number.
        signal: SignalName,
        /// The group.
        #[command(flatten)]
        group: GroupArgs,
    },
    /// Lets another program, or the same one with other arguments or files, take the place of the
    /// server on all replicas.
    #[command(after_help = UPGRADE_HELP)]
    Upgrade(UpgradeArgs),
    /// Lists, adds, removes and replaces members of the group, while it serves.
    #[command(subcommand)]
    Member(MemberCommands),
    /// Takes, lists and verifies checkpoints, with which a returning replica need not replay the
    /// whole log.
    #[command(subcommand)]
    Checkpoint(CheckpointCommands),
    /// Makes, shows and renews the keys by which the hosts of a group know each other.
    #[command(subcommand, after_help = KEYS_HELP)]
    Keys(KeysCommands),
}

/// The options by which a group is found.
#[derive(Clone, Debug, Args)]
pub(crate) struct GroupArgs {
    /// Finds the group by the data directory of a replica on this host (or by that of --local).
    #[arg(long, value_name = "D", conflicts_with = "peers")]
    pub data_dir: Option<PathBuf>,
    /// Finds the group by these replicas: host[:port], separated by commas. One running replica
    /// suffices.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// With --peers: the key file of a member, or operator.keys [default: CRANE_KEYS in the
    /// environment, or else .crane/host.keys in the working directory].
    #[arg(long, value_name = "FILE", requires = "peers")]
    pub keys: Option<PathBuf>,
    /// With --peers: asks replicas that were started with --insecure-peers.
    #[arg(long, requires = "peers", conflicts_with = "keys")]
    pub insecure_peers: bool,
}

/// `member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommands {
    /// Lists the members: number, address, kind (voter, learner or witness), role and progress.
    List(GroupArgs),
    /// Adds a replica: first as a learner and, once it has the whole log, as a voter.
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// Removes a member. Its data directory cannot be used afterwards.
    Remove(RemoveArgs),
    /// Adds a replica and removes another, once the new replica votes and its server has caught
    /// up.
    #[command(after_help = ADD_HELP)]
    Replace(ReplaceArgs),
}

/// `member add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The new replica's address: host[:port], as the other replicas reach it.
    pub address: String,
    /// Adds a witness: a member that votes and keeps the log, and runs no server.
    #[arg(long)]
    pub witness: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `member remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The member's number, or its address.
    pub member: String,
    /// The member does not answer and its data is lost, or is given up: removes it even if nobody
    /// else could build the server again, should it end before a new checkpoint of it is proved.
    #[arg(long)]
    pub lost: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `member replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The member to remove: its number, or its address.
    pub old: String,
    /// The new replica's address: host[:port], as the other replicas reach it.
    pub new: String,
    /// The member to remove does not answer, and its data is lost or given up: see remove --help.
    #[arg(long)]
    pub lost: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `primary`.
#[derive(Debug, Subcommand)]
pub(crate) enum PrimaryCommands {
    /// Transfers the role to another replica. Clients notice no more than one slow request.
    Move(MoveArgs),
}

/// `primary move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The replica that becomes primary: its number, or host[:port] as in --peers.
    #[arg(long, value_name = "X")]
    pub to: String,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `upgrade`.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
    /// The server's program and its arguments from now on.
    #[arg(last = true, required = true, value_name = "PROGRAM [ARGS]")]
    pub program: Vec<String>,
}

/// `checkpoint`.
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointCommands {
    /// Takes a checkpoint of the server of a running backup: an image of its processes and a copy
    /// of its files. The server is held meanwhile, for less than a second.
    Now {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Lists the checkpoints of a data directory, the newest first, and those that were set aside.
    List {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Lists them, and compares each with its digest. Exits with 1 if one is damaged.
    Verify {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Removes all checkpoints of a data directory but the newest ones, the newest that is proved
    /// not counted. Its replica must not run: one that runs keeps two, and the newest that is
    /// proved.
    Prune {
        /// The replica's data directory.
        data_dir: PathBuf,
        /// How many of the newest ones are kept.
        #[arg(long, value_name = "COUNT", default_value_t = 1)]
        keep: usize,
    },
    /// Writes a checkpoint that is proved to a new file, with its digest.
    Export {
        /// The replica's data directory.
        data_dir: PathBuf,
        /// The file.
        file: PathBuf,
        /// The checkpoint's slot [default: the newest that is proved].
        #[arg(long)]
        slot: Option<u64>,
    },
    /// Puts a checkpoint that was exported into the data directory of a replica of the same group
    /// that does not run, and may have lost everything: its next start begins with it.
    Import {
        /// The replica's data directory.
        data_dir: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// Shows which CRIU is used, and tries whether it can dump and restore a process here.
    #[command(after_help = PROBE_HELP)]
    Probe {
        /// The CRIU to use [default: CRANE_CRIU in the environment, or else the one that ci/criu
        /// has built, or else the one in PATH].
        #[arg(long, value_name = "PATH")]
        criu: Option<PathBuf>,
    },
}

/// `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The data directories of two replicas, or files frozen/slot-N in them; or the data directory
    /// of --local.
    #[arg(required = true, num_args = 1..=2, value_name = "SIDE")]
    pub sides: Vec<PathBuf>,
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Prints JSON, for programs, with counters and the last events.
    #[arg(long)]
    pub json: bool,
    /// Prints the last events instead: elections and their votes, stalls and their causes, links,
    /// members, the server. The times of a host's events are those of its own clock.
    #[arg(long, conflicts_with = "json")]
    pub events: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// The options of one replica, or of several local ones.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplicaArgs {
    /// The members of the group, host[:port] separated by commas, in the same order on every host.
    /// A replica that joins a group (see member add) needs only itself and one running member.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', conflicts_with = "local")]
    pub peers: Vec<String>,
    /// The peer that this replica is [default: the peer whose address this host has].
    #[arg(long = "self", value_name = "X", requires = "peers")]
    pub me: Option<String>,
    /// The addresses of this host at which clients reach a server that listens at all addresses,
    /// separated by commas; each host has its own [default: the replica's address in --peers].
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',', conflicts_with = "local")]
    pub listen: Vec<String>,
    /// Addresses that the server may bind by name although not every host has them, as in Listen
    /// 10.0.0.1:80; the same on every host, at most 16. A host that has such an address, now or
    /// later, serves clients there. Each host also serves clients of the first service address at
    /// the first address of its --listen, clients of the second at the second, and so on.
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',')]
    pub service_address: Vec<String>,
    /// Runs N replicas on this machine, at 127.0.0.1 to 127.0.0.N.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64)
    )]
    pub local: Option<u8>,
    /// The peers that are witnesses, which vote and keep the log, and run no server: their numbers
    /// or addresses. Takes effect when the group is created; must be the same on every host.
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub witness: Vec<String>,
    /// How strongly this replica prefers to be primary. A replica of high priority becomes primary
    /// once its server has kept up with the log for a while.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    pub priority: Priority,
    /// The directory for the log and the server's changes [default: .crane/PROGRAM in the working
    /// directory; with --local, its subdirectories 1 to N].
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// How long the primary waits for input, while the server has threads to run, before it grants
    /// clock steps without input: a number and a unit, such as 100us or 5ms.
    #[arg(long, value_name = "TIME", default_value = "100us", value_parser = parse_time)]
    pub wtimeout: Duration,
    /// How long one thread of the server may compute without a call, while all others wait for it,
    /// before the replica reports a fault.
    #[arg(long = "patience-compute", value_name = "TIME", default_value = "30s",
          value_parser = parse_time)]
    pub compute_limit: Duration,
    /// How the group reacts when its servers differ and none is right, because the program behaves
    /// differently each time it runs.
    #[arg(long, value_name = "WHAT", default_value = "halt")]
    pub on_divergence: OnDivergence,
    /// Takes a checkpoint of the server at this interval, while the replica is a backup: after a
    /// time, such as 10m, a number of entries, such as 100k-entries, or a growth of the log, such
    /// as 1GiB-log. Each is proved by a second server that is made from it. The log is cut behind
    /// what a majority of the servers has proved. It needs CRIU (see checkpoint probe) [default: by
    /// order only].
    #[arg(long, value_name = "INTERVAL")]
    pub checkpoint_every: Option<CheckpointEvery>,
    /// Ends the replica, with the reason, when its server makes a call that crane does not see,
    /// instead of reporting the call. All of the server's calls are looked at, not samples only.
    #[arg(long)]
    pub strict: bool,
    /// Whether to order and answer also the calls that the server makes without libc's functions:
    /// by instructions of its own, or inside of libc, as stdio does. Each such call costs some
    /// microseconds. Programs that are linked statically run only with it. It must be the same for
    /// all replicas. Without a value: always.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = FloorArg::Auto,
          num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub floor: FloorArg,
    /// How many clock steps each entry grants. Takes effect when the group is created.
    #[arg(long, value_name = "STEPS", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub nclock: u32,
    /// Which threads of the server run program code at the same time. Takes effect when the group
    /// is created.
    #[arg(long, value_enum, default_value_t = ScheduleArg::Serial)]
    pub schedule: ScheduleArg,
    /// How many calls a thread makes before it passes the turn. Takes effect when the group is
    /// created.
    #[arg(long, value_name = "CALLS", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub quantum: u32,
    /// Which failure an acknowledged entry survives.
    #[arg(long, value_enum, default_value_t = Durability::Fsync)]
    pub durability: Durability,
    /// Whether the server's own fsync reaches the disk. It need not, because the server's files can
    /// be rebuilt from the group's log.
    #[arg(long, value_enum, default_value_t = ServerFsync::Skip)]
    pub server_fsync: ServerFsync,
    /// How many files the server may have open, its clients' connections included: its limit,
    /// which a host's own must exceed by two. Must be the same on every host.
    #[arg(long, value_name = "N", default_value_t = OPEN_FILES,
          value_parser = clap::value_parser!(u32).range(256..=131_072))]
    pub open_files: u32,
    /// How much the server may have in /dev/shm, in MiB. Must be the same on every host.
    #[arg(long, value_name = "MIB", default_value_t = SHARED_MEMORY,
          value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub shared_memory: u32,
    /// How many processors the server sees, on each host [default: as many as the host has that
    /// creates the group]. It does not limit how many it uses. Takes effect when the group is
    /// created.
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(PROCESSORS_MAX)))]
    pub processors: Option<u32>,
    /// How much memory the server sees, on each host, in MiB [default: as much as the host has that
    /// creates the group]. It does not limit how much it uses. Takes effect when the group is
    /// created.
    #[arg(long, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: Option<u32>,
    /// Starts the server as this user, with its groups; GROUP in the place of its own first group.
    /// Needs root. Names and numbers must be the same on every host, and the files in the working
    /// directory must belong to the user there as they would without crane.
    #[arg(long, value_name = "NAME[:GROUP]")]
    pub user: Option<String>,
    /// Adds a variable to the server's environment. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// The key file of this host, which crane-linux keys makes, and by which the replicas of the
    /// group know each other [default: CRANE_KEYS in the environment, or else .crane/host.keys in
    /// the working directory; --local makes keys of its own].
    #[arg(long, value_name = "FILE", conflicts_with = "local")]
    pub keys: Option<PathBuf>,
    /// Goes without keys: any program that reaches the port of the replicas can act as one of them,
    /// give orders and read all that clients send.
    #[arg(long, conflicts_with = "keys")]
    pub insecure_peers: bool,
    /// The port for connections between replicas, where --peers gives none, and with --local.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT)]
    pub peer_port: u16,
    /// The least severe events to print.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Files that are neither the service's nor its server's to see, beside this command's own
    /// output: the output of a `--local` command, for its replicas.
    #[arg(long, value_name = "FILE", hide = true)]
    pub own_output: Vec<PathBuf>,
    /// Schedules this daemon as any other process. Without this option, it has a low real-time
    /// priority (sched(7)) while it uses less than a third of a processor, where this host
    /// permits it: so other work here does not delay answers. The server never has one.
    #[arg(long)]
    pub no_realtime: bool,
    /// The server's program and its arguments.
    #[arg(last = true, value_name = "PROGRAM [ARGS]")]
    pub program: Vec<String>,
}

/// `--priority`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
pub enum Priority {
    /// Becomes primary only if no other replica can.
    Low,
    /// Has no preference.
    Normal,
    /// Becomes primary whenever possible.
    High,
}

/// `--schedule`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ScheduleArg {
    /// One thread at a time, which is right for every program.
    Serial,
    /// All threads, between their calls, which is right for programs without data races.
    Parallel,
}

/// `--durability`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Durability {
    /// A loss of power: an entry is on the disk before it is acknowledged.
    Fsync,
    /// A crash of the daemon, but not a loss of power: an entry is in the system's memory before it
    /// is acknowledged.
    Memory,
}

/// `--on-divergence`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OnDivergence {
    /// The group stops serving, also after a restart, so that no client gets a wrong answer.
    Halt,
    /// The replicas continue to serve, although their servers differ.
    GoOn,
}

/// `--server-fsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ServerFsync {
    /// The server's fsync waits for the disk.
    Keep,
    /// The server's fsync returns at once.
    Skip,
}

/// Parses a duration such as `100us`, in the forms that [`humantime::parse_duration`] takes.
///
/// # Errors
/// Returns the fault in the text, with an example of a valid duration.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 100us, 5ms or 1s"))
}

/// Parses a variable such as `NAME=VALUE`.
///
/// # Errors
/// Returns the form of a variable if the text does not have it.
pub fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("write a variable as NAME=VALUE".to_string()),
    }
}

/// Parses the command line. If it is invalid, prints the error and ends the process.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| with_hint(error).exit())
}

/// Adds a hint to an error that a missing `--` before the program explains.
fn with_hint(mut error: clap::Error) -> clap::Error {
    let context = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::InvalidSubcommand => ContextKind::InvalidSubcommand,
        _ => return error,
    };
    let program = match error.get(context) {
        Some(ContextValue::String(word)) if !word.starts_with('-') => word.clone(),
        _ => return error,
    };
    // A word after the name of a subcommand is not a program.
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    if usage.contains("PROGRAM") {
        let hint = format!("the server's program and its arguments come after --: -- {program}");
        let hints = ContextValue::StyledStrs(vec![hint.into()]);
        error.insert(ContextKind::Suggested, hints);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn missing_dashes_before_the_program_give_a_hint() {
        let told = |words: &[&str]| {
            let words = ["crane-linux"].iter().chain(words);
            with_hint(Cli::try_parse_from(words).unwrap_err()).to_string()
        };
        let hint = "come after --: -- ./server";
        for words in
            [&["--local", "3", "./server"][..], &["./server"], &["--local", "3", "./server", "-p"]]
        {
            assert!(told(words).contains(hint), "{}", told(words));
        }
        for words in [&["status", "./server"][..], &["--locl", "3"], &["log", "verify"]] {
            assert!(!told(words).contains("come after"), "{}", told(words));
        }
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        assert_eq!(parse_time("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(parse_time("1ms 5us"), Ok(Duration::from_micros(1005)));
        for wrong in ["", "5", "us", "5 parsecs", "-1s", "18446744073709551616s"] {
            let why = parse_time(wrong).unwrap_err();
            assert!(why.ends_with("such as 100us, 5ms or 1s"), "{why}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from([
            "crane-linux",
            "--peers",
            "a,b:7",
            "--self",
            "a",
            "--",
            "server",
            "--port",
            "1",
        ])
        .unwrap();
        assert_eq!(cli.replica.program, ["server", "--port", "1"]);
        assert_eq!(cli.replica.wtimeout, Duration::from_micros(100));
        assert!(Cli::try_parse_from(["crane-linux", "--local", "8", "--", "x"]).is_err());
        assert!(Cli::try_parse_from(["crane-linux", "status", "--json"]).is_ok());
        let replace = ["crane-linux", "member", "replace", "2", "d", "--peers", "a,b"];
        assert!(Cli::try_parse_from(replace).is_ok());
    }
}
