//! `--local N`: a group on one machine, each replica a process of its own.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet, LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout};

use crate::base::elf;
use crate::keys::place::file_name;
use crate::keys::throwaway;
use crate::meta;
use crate::names;
use crate::options::{PEER_PORT, ReplicaArgs};
use crate::own_output;
use crate::start::default_directory;
use crate::terminal::{complain, pass_lines, print_line};

/// How long a replica may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How long the other replicas must run on before the command line of an ended one is printed.
const HINT_AFTER: Duration = Duration::from_millis(500);

/// The directory of the keys, in the data directory of all replicas.
const KEYS: &str = "keys";

/// Runs the replicas until all have ended, and returns the exit status: 0 after an interruption,
/// else the highest of theirs.
pub(crate) fn run(args: &ReplicaArgs, count: u8) -> i32 {
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| LocalSet::new().block_on(&runtime, keep(args, count)));
    outcome.unwrap_or_else(|why| {
        complain(&why);
        1
    })
}

async fn keep(args: &ReplicaArgs, count: u8) -> Result<i32, String> {
    let name = args.program.first().ok_or("give the server's program after --")?;
    names::among(&peers(args, count), &args.witness, args.peer_port)?;
    // Checked here so that the error is printed once, not by each replica.
    let (floor, _) = args.floor.settle()?;
    elf::find(name, floor.is_on()).map_err(|error| error.to_string())?;
    let root = args.data_dir.clone().unwrap_or_else(|| default_directory(name));
    meta::mark(&root)?;
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    if !args.insecure_peers {
        throwaway::make(&root.join(KEYS), &peers(args, count))?;
    }
    let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);

    let mut ends = JoinSet::new();
    let mut processes = Vec::new();
    for number in 1..=count {
        let line = command_line(args, count, number, &root);
        let mut child = start(&line)?;
        processes.push(child.id());
        let outputs = pass_all(&mut child, number);
        ends.spawn_local(async move {
            let end = child.wait().await;
            for output in outputs {
                let _ = output.await;
            }
            (number, end)
        });
    }
    let mut worst = 0;
    let mut gone = Vec::new();
    let mut hint_at = Instant::now();
    loop {
        tokio::select! {
            ended = ends.join_next() => {
                let Some(Ok((number, end))) = ended else { return Ok(worst) };
                processes[usize::from(number) - 1] = None;
                let end = end.map_err(|error| format!("replica {number}: {error}"))?;
                worst = worst.max(end.code().unwrap_or(1));
                gone.push((number, end));
                hint_at = Instant::now() + HINT_AFTER;
            }
            // Replicas that all end together need no hint how one of them comes back.
            () = sleep_until(hint_at), if !gone.is_empty() => {
                for (number, end) in gone.drain(..) {
                    let line = shell_line(&command_line(args, count, number, &root));
                    let end = describe(end);
                    print_line(&format!("replica {number} {end}; restart it with:\n  {line}"));
                }
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    stop_all(&mut processes, &mut ends).await;
    Ok(0)
}

async fn stop_all(
    processes: &mut [Option<u32>],
    ends: &mut JoinSet<(u8, std::io::Result<ExitStatus>)>,
) {
    for (signal, allowed) in [(libc::SIGTERM, STOP_WITHIN), (libc::SIGKILL, STOP_WITHIN)] {
        for process in processes.iter().flatten() {
            // SAFETY: kill touches no memory; the process is our child and has not been waited for.
            unsafe { libc::kill(*process as libc::pid_t, signal) };
        }
        let all = async {
            while let Some(ended) = ends.join_next().await {
                if let Ok((number, _)) = ended {
                    processes[usize::from(number) - 1] = None;
                }
            }
        };
        if timeout(allowed, all).await.is_ok() {
            return;
        }
    }
}

fn peers(args: &ReplicaArgs, count: u8) -> Vec<String> {
    (1..=count).map(|number| format!("127.0.0.{number}:{}", args.peer_port)).collect()
}

/// Returns the whole command line of one replica, which also starts it by hand.
fn command_line(args: &ReplicaArgs, count: u8, number: u8, root: &Path) -> Vec<String> {
    let peers = peers(args, count);
    let program = std::env::current_exe().unwrap_or_else(|_| "crane-linux".into());
    let mut line = vec![
        program.display().to_string(),
        "--peers".into(),
        peers.join(","),
        "--self".into(),
        peers[usize::from(number) - 1].clone(),
        "--data-dir".into(),
        root.join(number.to_string()).display().to_string(),
    ];
    if !args.insecure_peers {
        let keys = file_name(&peers[usize::from(number) - 1], PEER_PORT);
        line.extend(["--keys".into(), root.join(KEYS).join(keys).display().to_string()]);
    }
    line.extend(options_of(args));
    line.push("--".into());
    line.extend(args.program.iter().cloned());
    line
}

/// Returns the options that each replica shares, without those that have their default.
fn options_of(args: &ReplicaArgs) -> Vec<String> {
    use clap::ValueEnum;
    // Each option is named, so that none that is new can be forgotten.
    let ReplicaArgs {
        peers: _,
        me: _,
        listen: _,
        service_address,
        local: _,
        witness,
        priority,
        data_dir: _,
        wtimeout,
        compute_limit,
        on_divergence,
        checkpoint_every,
        strict,
        floor,
        nclock,
        schedule,
        quantum,
        durability,
        server_fsync,
        open_files,
        shared_memory,
        processors,
        memory,
        user,
        env,
        keys: _,
        insecure_peers,
        no_realtime,
        peer_port: _,
        log_level,
        own_output: _,
        program: _,
    } = args;
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or(String::new(), |value| value.get_name().to_string())
    };
    let text = |given: Option<u32>| given.map_or(String::new(), |number| number.to_string());
    let given = [
        ("--wtimeout", humantime::format_duration(*wtimeout).to_string(), "100us"),
        ("--patience-compute", humantime::format_duration(*compute_limit).to_string(), "30s"),
        ("--nclock", nclock.to_string(), "1000"),
        ("--schedule", name(&|| schedule.to_possible_value()), "serial"),
        ("--quantum", quantum.to_string(), "100"),
        ("--floor", name(&|| floor.to_possible_value()), "auto"),
        ("--durability", name(&|| durability.to_possible_value()), "fsync"),
        ("--on-divergence", name(&|| on_divergence.to_possible_value()), "halt"),
        ("--server-fsync", name(&|| server_fsync.to_possible_value()), "skip"),
        ("--open-files", open_files.to_string(), "16384"),
        ("--shared-memory", shared_memory.to_string(), "1024"),
        ("--processors", text(*processors), ""),
        ("--memory", text(*memory), ""),
        ("--user", user.clone().unwrap_or_default(), ""),
        ("--witness", witness.join(","), ""),
        ("--service-address", service_address.join(","), ""),
        ("--priority", name(&|| priority.to_possible_value()), "normal"),
        ("--log-level", name(&|| log_level.to_possible_value()), "info"),
    ];
    let mut line = Vec::new();
    for (option, value, usual) in given {
        if value != usual {
            line.push(format!("{option}={value}"));
        }
    }
    if let Some(every) = checkpoint_every {
        line.extend(["--checkpoint-every".to_string(), every.to_string()]);
    }
    let switches = [
        (*strict, "--strict"),
        (*insecure_peers, "--insecure-peers"),
        (*no_realtime, "--no-realtime"),
    ];
    for (given, option) in switches {
        if given {
            line.push(option.to_string());
        }
    }
    for (name, value) in env {
        line.extend(["--env".to_string(), format!("{name}={value}")]);
    }
    line
}

fn shell_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=@%+".contains(c);
    let quoted = words.iter().map(|word| match word.chars().all(plain) && !word.is_empty() {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Starts a replica in a process group of its own: Ctrl-C reaches only this process, which then
/// stops the replicas.
fn start(line: &[String]) -> Result<Child, String> {
    let mut command = Command::new(&line[0]);
    for file in own_output::files() {
        command.arg("--own-output").arg(file);
    }
    command
        .args(&line[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // SAFETY: between fork and exec one async-signal-safe call is made: a replica does not outlive
    // us.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0);
            Ok(())
        });
    }
    command.spawn().map_err(|error| format!("{}: {error}", line[0]))
}

fn pass_all(child: &mut Child, number: u8) -> [JoinHandle<()>; 2] {
    let stdout = child.stdout.take().expect("it was piped");
    let stderr = child.stderr.take().expect("it was piped");
    let prefix = format!("{number}| ");
    [
        spawn_local(pass_lines(stdout, prefix.clone(), false)),
        spawn_local(pass_lines(stderr, prefix, true)),
    ]
}

fn describe(end: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (end.code(), end.signal()) {
        (Some(status), _) => format!("has ended with status {status}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "has ended".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::floor::FloorArg;
    use crate::options::Cli;
    use clap::Parser;

    #[test]
    fn the_printed_line_starts_the_same_replica() {
        let cli = Cli::try_parse_from([
            "crane-linux",
            "--local",
            "3",
            "--quantum",
            "7",
            "--strict",
            "--floor",
            "--open-files",
            "20000",
            "--shared-memory",
            "64",
            "--processors",
            "4",
            "--user",
            "redis:www-data",
            "--env",
            "A=b c",
            "--",
            "sh",
            "-c",
            "x y",
        ])
        .unwrap();
        let line = command_line(&cli.replica, 3, 2, Path::new("/data"));
        let again = Cli::try_parse_from(&line).unwrap().replica;
        assert_eq!(again.peers, ["127.0.0.1:6790", "127.0.0.2:6790", "127.0.0.3:6790"]);
        assert_eq!((again.me.as_deref(), again.quantum), (Some("127.0.0.2:6790"), 7));
        assert!(again.strict && again.floor == FloorArg::Always);
        assert_eq!((again.open_files, again.shared_memory), (20_000, 64));
        assert_eq!((again.processors, again.memory), (Some(4), None));
        assert_eq!(again.user.as_deref(), Some("redis:www-data"));
        assert_eq!(again.keys.as_deref(), Some(Path::new("/data/keys/127.0.0.2.keys")));
        assert_eq!(again.data_dir.as_deref(), Some(Path::new("/data/2")));
        assert_eq!((again.program, again.env), (cli.replica.program, cli.replica.env));
        assert!(shell_line(&line).ends_with("--env 'A=b c' -- sh -c 'x y'"));
    }
}
