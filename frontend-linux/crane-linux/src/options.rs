//! The command line.

// Comments on options are the text of --help, where host[:port] is no link.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};
use crane_core::limits::NODES_MAX;
use serde::{Deserialize, Serialize};

/// The default port by which replicas talk to each other.
pub(crate) const PEER_PORT: u16 = 6790;

const EXAMPLES: &str = "\
Examples:
  Three replicas on this machine, at 127.0.0.1, 127.0.0.2 and 127.0.0.3; Ctrl-C stops all:
    crane-linux --local 3 -- civetweb -document_root www -listening_ports 8080 -num_threads 8
    curl http://127.0.0.2:8080/
  The same on three hosts, the same line on each of them:
    crane-linux --peers 10.0.0.1,10.0.0.2,10.0.0.3 -- redis-server --port 6379 --appendonly yes
  How the group is:
    crane-linux status --peers 10.0.0.1,10.0.0.2,10.0.0.3
  Another host in place of one, while the group serves (see member replace --help):
    crane-linux member replace 10.0.0.3 10.0.0.4 --peers 10.0.0.1,10.0.0.2

The server's ports are learnt from its bind and listen; the replica listens there at its own
address. A replica that was stopped or killed comes back with the same command line. Program,
libraries, files in the working directory, arguments and environment (PATH, HOME, LANG, LC_*, TZ,
USER and --env) are the group's base: they must be the same on all hosts, and may not change while
the group exists. What the server writes goes to the data directory (upper/), never to the host's
files.

Exit status: 0 after Ctrl-C or SIGTERM, and when the program has ended with status 0 on the group;
1 when the replica cannot go on (the last line says why); 2 for a wrong command line.";

const CUT_HELP: &str = "\
A log grows with every entry. A replica that runs a server needs all of it: a new server starts from
slot 1. A witness runs none, and may forget what the group has committed:
    crane-linux status --data-dir D       its committed slot, as long as it runs
    crane-linux log cut D --behind SLOT   when it is stopped
    crane-linux log show D                the first line says where the log starts

SLOT must be known to be committed by the log itself, which may lag a little behind status. A member
that lacks slots before it then gets them from the others, not from this one: keep what such a
member may need. When the host crashes meanwhile, the log is as it was or as it is to be. Files are
deleted as a whole, of 32 MiB each: the log may become shorter only later.";

const USAGE: &str = "\
crane-linux [--peers A,B,C [--self X] | --local N] [OPTIONS] -- PROGRAM [ARGS]...
       crane-linux status [--json | --events] [--data-dir D | --peers A,B,C]
       crane-linux member list|add X|remove X|replace X Y [--data-dir D | --peers A,B,C]
       crane-linux primary move --to X [--data-dir D | --peers A,B,C]
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
    /// What else than running a replica.
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    /// The replica.
    #[command(flatten)]
    pub replica: ReplicaArgs,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    /// Shows how the group and its replicas are.
    Status(StatusArgs),
    /// Reads the log in a data directory, or cuts its front off; the replica need not run.
    #[command(subcommand)]
    Log(LogCommands),
    /// Changes which replica is the primary.
    #[command(subcommand)]
    Primary(PrimaryCommands),
    /// Shows and changes who belongs to the group, while it serves.
    #[command(subcommand)]
    Member(MemberCommands),
}

/// How a group is found.
#[derive(Clone, Debug, Args)]
pub(crate) struct GroupArgs {
    /// Asks the group of the replica whose data directory this is (or of --local's).
    #[arg(long, value_name = "D", conflicts_with = "peers")]
    pub data_dir: Option<PathBuf>,
    /// Asks these replicas: host[:port], separated by commas. One that runs suffices.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    pub peers: Vec<String>,
}

/// `member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommands {
    /// Shows the members: number, address, and whether each votes.
    List(GroupArgs),
    /// Takes a replica in: first as a learner, then, when it has the whole log, as a voter.
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// Lets a member go. Its data directory is of no use afterwards.
    Remove(RemoveArgs),
    /// Adds a replica in place of another, which goes when the new one votes and its server is in
    /// step.
    #[command(after_help = ADD_HELP)]
    Replace(ReplaceArgs),
}

const ADD_HELP: &str = "\
Start the new replica on its host before or after this command, with a new data directory, with the
same program, files and arguments as the others, and with a list of peers that has itself and at
least one member that runs:
    crane-linux --peers 10.0.0.1,10.0.0.2,10.0.0.4 -- redis-server --port 6379 --appendonly yes
Interrupted, the command leaves a learner, which takes no part in decisions; the same command goes
on.";

/// `member add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The new replica's address: host[:port], as the other replicas reach it.
    pub address: String,
    /// The new member keeps the log and votes, and runs no server.
    #[arg(long)]
    pub witness: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `member remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its number, or its address.
    pub member: String,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `member replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The member that goes: its number, or its address.
    pub old: String,
    /// The new replica's address: host[:port].
    pub new: String,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `primary`.
#[derive(Debug, Subcommand)]
pub(crate) enum PrimaryCommands {
    /// Hands the role over, without a pause for its clients but that of one agreement.
    Move(MoveArgs),
}

/// `primary move`.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The replica that shall be primary: its number, or host[:port] as in --peers.
    #[arg(long, value_name = "X")]
    pub to: String,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// `log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommands {
    /// Prints every record.
    Show {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Checks that every record is whole.
    Verify {
        /// The replica's data directory.
        data_dir: PathBuf,
    },
    /// Lets the log of a witness start behind a slot, and deletes the files before.
    #[command(after_help = CUT_HELP)]
    Cut {
        /// The witness's data directory.
        data_dir: PathBuf,
        /// The last slot that may go.
        #[arg(long, value_name = "SLOT")]
        behind: u64,
    },
}

/// `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Prints JSON, for programs; with counters and the last events.
    #[arg(long)]
    pub json: bool,
    /// Prints what happened lately instead: elections and their votes, stalls and their causes,
    /// links, members, the server. Times are each host's own.
    #[arg(long, conflicts_with = "json")]
    pub events: bool,
    /// The group.
    #[command(flatten)]
    pub group: GroupArgs,
}

/// Everything about one replica, or several local ones.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplicaArgs {
    /// The members of the group, host[:port] separated by commas, in the same order on every host.
    /// For a replica that joins a group (see member add): itself, and members that it can ask.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', conflicts_with = "local")]
    pub peers: Vec<String>,
    /// Which of the peers this one is. Without it: the one whose address this host has.
    #[arg(long = "self", value_name = "X", requires = "peers")]
    pub me: Option<String>,
    /// Runs N replicas on this machine, at 127.0.0.1 to 127.0.0.N.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=NODES_MAX as i64)
    )]
    pub local: Option<u8>,
    /// Which of the peers keep the log and vote, and run no server: their numbers or addresses.
    /// Counts when the group is created; the same on every host.
    #[arg(long, value_name = "X,Y", value_delimiter = ',')]
    pub witness: Vec<String>,
    /// Whether this replica is rather primary than others, or rather not. One of high priority
    /// takes the role over when it has been in step for a while.
    #[arg(long, value_enum, default_value_t = Priority::Normal)]
    pub priority: Priority,
    /// Where the log and the server's changes are kept [default: .crane/PROGRAM in the working
    /// directory; with --local, its subdirectories 1 to N].
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// How long the primary waits for another input before it grants clock steps without one.
    #[arg(long, value_name = "TIME", default_value = "100us", value_parser = parse_time)]
    pub wtimeout: Duration,
    /// Clock steps that come with each entry. Counts when the group is created.
    #[arg(long, value_name = "STEPS", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub nclock: u32,
    /// Which threads of the server run program code: one at a time (right for every program), or
    /// all between their calls (right for programs without data races). Counts when the group is
    /// created.
    #[arg(long, value_enum, default_value_t = ScheduleArg::Serial)]
    pub schedule: ScheduleArg,
    /// Calls that a thread makes before it passes the turn. Counts when the group is created.
    #[arg(long, value_name = "CALLS", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub quantum: u32,
    /// What an acknowledged entry survives: the loss of power (fsync), or only of the daemon
    /// (memory).
    #[arg(long, value_enum, default_value_t = Durability::Fsync)]
    pub durability: Durability,
    /// Whether the server's own fsync reaches the disk. The group's log holds all that it needs.
    #[arg(long, value_enum, default_value_t = ServerFsync::Skip)]
    pub server_fsync: ServerFsync,
    /// Another variable for the server's environment. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_variable)]
    pub env: Vec<(String, String)>,
    /// The replicas' port for each other where --peers names none, and with --local.
    #[arg(long, value_name = "PORT", default_value_t = PEER_PORT)]
    pub peer_port: u16,
    /// Which events are printed.
    #[arg(long, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// For tests: `arrival` admits input when it arrives, which is what this program exists to
    /// avoid.
    #[arg(long, value_enum, default_value_t = Admission::Script, hide = true)]
    pub admission: Admission,
    /// The server's program and its arguments.
    #[arg(last = true, value_name = "PROGRAM [ARGS]")]
    pub program: Vec<String>,
}

/// `--priority`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
pub enum Priority {
    /// Primary when nobody else can be.
    Low,
    /// As most are.
    Normal,
    /// Primary whenever it can be.
    High,
}

/// `--schedule`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ScheduleArg {
    /// One thread at a time.
    Serial,
    /// All threads between their calls.
    Parallel,
}

/// `--durability`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Durability {
    /// On disk before it is acknowledged.
    Fsync,
    /// In the system's memory.
    Memory,
}

/// `--server-fsync`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ServerFsync {
    /// It does.
    Keep,
    /// It returns at once.
    Skip,
}

/// `--admission`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Admission {
    /// By the script.
    Script,
    /// On arrival.
    Arrival,
}

/// `--log-level`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// What stops the replica.
    Error,
    /// And what needs attention.
    Warn,
    /// And what changes.
    Info,
    /// And what helps to find faults.
    Debug,
}

impl LogLevel {
    /// Returns the tracing library's name for this level.
    pub(crate) fn level(self) -> tracing::Level {
        match self {
            Self::Error => tracing::Level::ERROR,
            Self::Warn => tracing::Level::WARN,
            Self::Info => tracing::Level::INFO,
            Self::Debug => tracing::Level::DEBUG,
        }
    }
}

/// Parses a duration such as `100us`, in the forms that [`humantime::parse_duration`] takes.
///
/// # Errors
/// Returns what is wrong with the text, and an example of a right one.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and a unit, such as 100us, 5ms or 1s"))
}

/// Parses a variable such as `NAME=VALUE`.
///
/// # Errors
/// Returns what is wrong with the text.
pub fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("write NAME=VALUE".to_string()),
    }
}

/// Parses the command line. Prints what is wrong with it, if anything, and ends the process.
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
    // A word after a subcommand's name is no program.
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
    fn who_leaves_out_the_dashes_is_told_of_them() {
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
