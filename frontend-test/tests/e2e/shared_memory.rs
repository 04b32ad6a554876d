//! The file systems of a server that are in memory: their sizes, and calls when they are full.

use std::io::{BufRead, BufReader, Write};

use crane_test::e2e::checkpoints::{are_possible, await_start_from, checkpoint};
use crane_test::e2e::group::Group;
use crane_test::e2e::healthy::connect;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::wait::{START, eventually};

/// The size of /dev/shm, in MiB.
const SHARED: u64 = 16;

/// Asks the server through one replica, until it answers: a busy machine resets clients.
fn ask(group: &Group, id: u8, line: &str) -> String {
    eventually("an answer", START, || {
        let mut stream = BufReader::new(connect(group.address(id))?);
        stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = String::new();
        match stream.read_line(&mut answer)? {
            0 => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
            _ => Ok(answer.trim_end().to_string()),
        }
    })
}

/// Waits until all servers report that a directory is full, or that none is.
fn await_full(group: &Group, name: Option<&str>) {
    eventually("the fault", START, || {
        let status = group.status()?;
        let faults: Vec<_> = status.servers().map(|it| it.faults.join("; ")).collect();
        let text = name.map(|name| format!("the server's {name} is full"));
        let as_told = |fault: &String| match &text {
            Some(text) => fault.contains(text) && fault.contains("--shared-memory"),
            None => fault.is_empty(),
        };
        if faults.iter().all(as_told) { Ok(()) } else { Err(format!("{faults:?}")) }
    });
}

#[test]
fn what_is_in_memory_is_full_at_the_same_call_on_all_replicas() {
    let machine = Machine::take("shared-memory");
    let program = program::compiled(machine.folder(), "shared_memory", &[]);
    let options = ["--shared-memory", &SHARED.to_string()];
    let mut group = Group::start(&machine, program, 3, &options);
    let pids = |group: &Group| {
        let status = group.status().expect("a status");
        status.servers().map(|replica| replica.server_pid).collect::<Vec<_>>()
    };
    let before = pids(&group);
    let sizes = format!("{} 65536 {} 16384", SHARED << 20, 64 << 20);
    for id in group.ids() {
        assert_eq!(ask(&group, id, "sizes"), sizes);
    }
    let answer = ask(&group, 1, "fill /dev/shm/a");
    assert_eq!(answer, format!("{} No space left on device", SHARED << 20));
    await_full(&group, Some("/dev/shm"));
    // Files of crane's own are there as well.
    let answer = ask(&group, 2, "fill /run/b");
    let bytes: u64 = answer.split(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    assert!(bytes > 48 << 20 && answer.ends_with(" No space left on device"), "{answer}");
    await_full(&group, Some("/run"));
    ask(&group, 3, "free /run/b");
    ask(&group, 3, "free /dev/shm/a");
    await_full(&group, None);
    group.await_settled();
    assert_eq!(pids(&group), before, "no server has ended");

    // They are part of a checkpoint.
    if are_possible(machine.folder()) {
        let backup = group.ids().find(|id| *id != group.primary()).expect("a backup");
        assert_eq!(
            ask(&group, 1, "fill /dev/shm/c"),
            format!("{} No space left on device", SHARED << 20)
        );
        let (_, slot) = checkpoint(&group, backup).unwrap();
        group.kill(backup);
        group.start_replica(backup);
        eventually("the server from its checkpoint", START, || {
            let status = group.status()?;
            let from = &status.replica(backup).checkpoint["started_from"];
            if *from == slot { Ok(()) } else { Err(format!("{from}")) }
        });
        ask(&group, backup, "free /dev/shm/c");
        await_full(&group, None);
        await_start_from(&group, backup, |from| from == slot);
        group.await_settled();
    }

    // Another size is another base.
    let id = group.ids().find(|id| *id != group.primary()).expect("a backup");
    group.stop_replica(id);
    group.options_mut()[1] = "17".to_string();
    let output = group.refused(id);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--shared-memory"), "{text}");
}
