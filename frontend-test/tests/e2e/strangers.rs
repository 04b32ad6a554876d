//! Strangers at the port of the replicas and at the control socket: nothing that they send has an
//! effect, and what they cost is bounded and counted.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crane_test::e2e::binary::crane_linux;
use crane_test::e2e::binary::{run_bounded, told};
use crane_test::e2e::group::Group;
use crane_test::e2e::keys::Keys;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program;
use crane_test::e2e::resources::{allow_descriptors, resident_kib};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::status::Status;
use crane_test::e2e::strangers::{
    ForgedHello, GROWTH_KIB_MAX, Targets, answer_to, attack, connect, counted, endless_frame,
    removal, status_question, tls, unmoved,
};
use crane_test::e2e::wait::{ANSWER, START, eventually};

/// A little more than a validity.
const EXPIRED: Duration = Duration::from_millis(2500);

#[track_caller]
fn serves(group: &Group, id: u8) {
    let mut connection = Connection::open(group.address(id), ANSWER).expect("a connection");
    let reply = connection.call(&[b"INCR", b"served"]).expect("an answer");
    assert!(matches!(reply, Reply::Number(_)), "{reply:?}");
}

fn count(status: &Status, id: u8, name: &str) -> u64 {
    let counters = &status.replica(id).strangers;
    counters[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counters}"))
}

/// Asserts that the group is as it was: the same processes, primary, ballot and members.
#[track_caller]
fn assert_unmoved(group: &Group, before: &Status) {
    let after = eventually("a status", START, || group.status());
    assert_eq!(unmoved(before, &after), Ok(()));
    for replica in &before.replicas {
        serves(group, replica.id);
    }
}

/// Returns the meta files of all replicas: who the members are.
fn metas(group: &Group) -> Vec<String> {
    group.ids().map(|id| fs::read_to_string(group.data(id).join("meta")).unwrap()).collect()
}

#[test]
fn nobody_without_keys_of_the_group_is_heard() {
    let machine = Machine::take("no-keys");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let keys = group.keys().expect("keys").clone();
    let foreign = Keys::make(machine.folder().join("foreign"), &[group.address(1).ip()]);
    let host = group.address(7).ip();
    let expired = {
        fs::remove_file(keys.host(host)).unwrap();
        let line = ["keys", "add", &host.to_string(), "--valid-for", "1s", "--dir"];
        let mut line: Vec<String> = line.map(str::to_owned).into();
        line.push(keys.directory().display().to_string());
        told(&line, machine.folder()).expect("keys that expire soon");
        sleep(EXPIRED);
        keys.host(host)
    };
    let before = group.status().unwrap();
    let (peer, operator) = (group.peer_address(1), keys.operator());
    let strangers = [
        ("no certificate", None),
        ("another group's", Some(foreign.operator())),
        ("expired", Some(expired)),
    ];
    for (at, (name, shows)) in strangers.iter().enumerate() {
        for order in [status_question(), removal(2)] {
            let mut stream = tls(peer, &operator, shows.as_deref()).unwrap();
            assert_eq!(answer_to(&mut stream, &order), b"", "{name}");
        }
        let now = eventually("counters", START, || group.status());
        let refused = count(&now, 1, "untrusted") - count(&before, 1, "untrusted");
        assert_eq!(refused, 2 * (at as u64 + 1), "{name}: {}", now.replica(1).strangers);
    }
    // The command says why.
    for (keys, reason) in [(&strangers[1].1, "authority"), (&strangers[2].1, "expired")] {
        let keys = keys.as_ref().unwrap().display().to_string();
        let line = ["status", "--peers", &peer.to_string(), "--keys", &keys].map(str::to_owned);
        let why = told(&line, machine.folder()).unwrap_err();
        assert!(why.contains(reason), "{why}");
    }
    // The control: with keys of the group the same question is answered.
    let mut stream = tls(peer, &operator, Some(&operator)).unwrap();
    let answer = answer_to(&mut stream, &status_question());
    assert!(String::from_utf8_lossy(&answer).contains("\"members\""), "{answer:?}");
    // Its bytes, sent again, are a stranger's.
    let flights = stream.sock.written.clone();
    assert!(flights.len() > 500, "{}", flights.len());
    let untrusted = count(&group.status().unwrap(), 1, "untrusted");
    let answer = answer_to(&mut connect(peer).unwrap(), &flights);
    assert!(!String::from_utf8_lossy(&answer).contains("members"), "{answer:?}");
    let now = group.status().unwrap();
    assert_eq!(count(&now, 1, "untrusted"), untrusted + 1, "{}", now.replica(1).strangers);
    assert_unmoved(&group, &before);
}

#[test]
fn a_holder_of_keys_speaks_for_itself_alone() {
    let machine = Machine::take("impostor");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let keys = group.keys().expect("keys").clone();
    let (before, metas_before) = (group.status().unwrap(), metas(&group));
    let group_number = u128::from_str_radix(before.group.as_str().unwrap(), 16).unwrap();
    let version = protocol_version(&group, &keys);
    let stranger = group.peer_address(4).to_string();
    for id in group.ids() {
        let victim = group.peer_address(id);
        let other = id % 3 + 1;
        let other_name = group.peer_address(other).to_string();
        // A host of the group that is no member claims to be one, by its name and by its number.
        for (claimed, is_impostor) in [((other, &*other_name), true), ((other, &*stranger), false)]
        {
            let hello = ForgedHello::of_the_far_future(version, group_number, claimed, id);
            let shows = keys.host(group.address(4).ip());
            let mut stream = tls(victim, &keys.operator(), Some(&shows)).unwrap();
            let answer = answer_to(&mut stream, &hello.frame());
            // The hello was read: the victim greets, unless the name is another's.
            assert_eq!(answer.len() < 50, is_impostor, "{claimed:?} got {} bytes", answer.len());
        }
        // It gives orders.
        let shows = keys.host(group.address(4).ip());
        let mut stream = tls(victim, &keys.operator(), Some(&shows)).unwrap();
        let answer = answer_to(&mut stream, &removal(other));
        assert!(String::from_utf8_lossy(&answer).contains("is no member"), "{answer:?}");
        // A member claims a list of members as of slot 2^62, without the victim.
        let hello = ForgedHello::of_the_far_future(version, group_number, (other, &other_name), id);
        let shows = keys.host(group.address(other).ip());
        let mut stream = tls(victim, &keys.operator(), Some(&shows)).unwrap();
        assert!(answer_to(&mut stream, &hello.frame()).len() > 50, "the victim does not greet");
    }
    sleep(Duration::from_secs(1));
    let now = group.status().unwrap();
    for id in group.ids() {
        assert_eq!(count(&now, id, "impostors"), 2, "{}", now.replica(id).strangers);
    }
    assert_unmoved(&group, &before);
    assert_eq!(metas(&group), metas_before, "a list of members was taken over");
}

/// Returns the version of the protocol, as a replica's hello has it.
fn protocol_version(group: &Group, keys: &Keys) -> u32 {
    let name = group.peer_address(4).to_string();
    let hello = ForgedHello::of_the_far_future(0, 1, (4, &name), 1).frame();
    let shows = keys.host(group.address(4).ip());
    let mut stream = tls(group.peer_address(1), &keys.operator(), Some(&shows)).unwrap();
    let answer = answer_to(&mut stream, &hello);
    // Length, checksum, kind, magic, version.
    assert_eq!(&answer[9..13], b"CRNE");
    assert!(answer[13] < 0x80, "a version of one byte");
    answer[13].into()
}

#[test]
fn ten_thousand_half_open_connections_cost_little_and_keep_no_replica_out() {
    let machine = Machine::take("half-open");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    serves(&group, 1);
    let before = group.status().unwrap();
    let daemon = before.replica(1).daemon_pid.unwrap();
    let memory = resident_kib(daemon).unwrap();
    let at_a_time = usize::try_from(allow_descriptors().saturating_sub(200)).unwrap().min(10_000);
    let (mut open, mut largest): (Vec<TcpStream>, u64) = (Vec::new(), 0);
    for number in 0..10_000 {
        let mut stream = connect(group.peer_address(1)).expect("the port of the replicas");
        // Some begin a handshake and never complete it.
        let _ = std::io::Write::write_all(&mut stream, &[22, 3, 1, 2, 0][..number % 6]);
        open.push(stream);
        if open.len() == at_a_time {
            open.drain(..at_a_time / 2);
        }
        if number % 1000 == 0 {
            serves(&group, 1);
            largest = largest.max(resident_kib(daemon).unwrap());
        }
    }
    let grown = largest.max(resident_kib(daemon).unwrap()).saturating_sub(memory);
    println!("10 000 half-open connections, {at_a_time} at a time: the daemon grew by {grown} KiB");
    assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
    // Another replica comes, and finds the one that is attacked.
    group.kill(3);
    group.start_replica(3);
    group.await_serving();
    serves(&group, 3);
    let now = group.status().unwrap();
    let closed: u64 = ["displaced", "too_many"].iter().map(|name| count(&now, 1, name)).sum();
    assert!(closed > 9000, "{}", now.replica(1).strangers);
    eventually("an end of those that stay silent", START, || {
        let now = group.status()?;
        match count(&now, 1, "too_slow") {
            0 => Err(now.replica(1).strangers.to_string()),
            _ => Ok(()),
        }
    });
    drop(open);
    group.await_settled();
}

#[test]
fn arbitrary_bytes_change_nothing() {
    let machine = Machine::take("fuzzed");
    let group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let foreign = Keys::make(machine.folder().join("foreign"), &[group.address(1).ip()]);
    let before = group.status().unwrap();
    let daemons: Vec<u32> = before.replicas.iter().filter_map(|r| r.daemon_pid).collect();
    let memory: Vec<u64> = daemons.iter().map(|pid| resident_kib(*pid).unwrap()).collect();
    let seed = std::process::id().into();
    let attacks = attack(&Targets::of(&group, &foreign), Duration::from_secs(5), seed);
    eventually("a count of all attacks", START, || match counted(&group.status()?) {
        count if count >= attacks => Ok(()),
        count => Err(format!("{count} of {attacks}")),
    });
    // A holder of keys may send garbage too: it costs the holder its own stream.
    let operator = group.keys().expect("keys").operator();
    for id in group.ids() {
        for bytes in
            [endless_frame(), vec![0xff; 70_000], vec![0; 9], status_question()[..7].into()]
        {
            let mut stream = tls(group.peer_address(id), &operator, Some(&operator)).unwrap();
            stream.sock.written.clear();
            let _ = answer_to(&mut stream, &bytes);
        }
    }
    let now = eventually("a status", START, || group.status());
    for (replica, before) in now.replicas.iter().zip(memory) {
        let grown = resident_kib(replica.daemon_pid.unwrap()).unwrap().saturating_sub(before);
        println!("replica {}: {} of {attacks} attacks; {grown} KiB", replica.id, replica.strangers);
        assert!(grown < GROWTH_KIB_MAX, "{grown} KiB");
        for name in ["untrusted", "malformed", "control_malformed"] {
            assert!(count(&now, replica.id, name) > 0, "{name}: {}", replica.strangers);
        }
    }
    assert_unmoved(&group, &before);
    group.await_settled();
}

#[test]
fn the_control_socket_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let machine = Machine::take("control-owner");
    let group = Group::start(&machine, program::redis(machine.folder()), 1, &[]);
    let socket: PathBuf = group.data(1).join("run/control.sock");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if !rustix::process::geteuid().is_root() {
        return crane_test::e2e::machine::skip("only root can become another user");
    }
    // The kernel's mode keeps others out already; the replica does not rely on it.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    for path in socket.ancestors().skip(1).take_while(|path| path.starts_with(machine.folder())) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let data = group.data(1).display().to_string();
    let status = |user: u32| {
        let copy = machine.folder().join("crane-linux-for-all");
        fs::copy(crane_linux(), &copy).unwrap();
        let line = ["checkpoint", "now", &data];
        Command::new(copy).args(line).current_dir("/").uid(user).gid(user).output().unwrap()
    };
    let refused = status(65534);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("no replica answers"), "{text}");
    let now = group.status().unwrap();
    assert_eq!(count(&now, 1, "control_refused"), 1, "{}", now.replica(1).strangers);
    // The control: root is heard, whatever the order's outcome.
    let heard = String::from_utf8_lossy(&status(0).stderr).into_owned();
    assert!(!heard.contains("no replica answers"), "{heard}");
    let mut silent = UnixStream::connect(&socket).unwrap();
    silent.set_read_timeout(Some(START)).unwrap();
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0, "a silent connection stays for ever");
}

#[test]
fn hosts_without_keys_get_the_two_commands_and_insecure_ones_a_note() {
    let machine = Machine::take("without-keys");
    let program = program::redis(machine.folder());
    let mut group = Group::prepare(&machine, program.clone(), 2, &[]);
    let keys = group.keys().cloned();
    group.set_keys(None);
    let output = group.refused(1);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    let init =
        format!("crane-linux keys init {} {}\n", group.address(1).ip(), group.address(2).ip());
    assert!(
        text.contains(&init) && text.contains("for host in") && text.contains("no keys"),
        "{text}"
    );
    // The key file of another host is refused by name.
    let mut line = group.arguments(1);
    let wrong = keys.as_ref().unwrap().host(group.address(2).ip()).display().to_string();
    line.splice(0..0, ["--keys".to_owned(), wrong]);
    let output = run_bounded(&line, &program.base);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("is that of"), "{text}");
    group.options_mut().push("--insecure-peers".into());
    group.start_all();
    let status = group.status().unwrap();
    for replica in &status.replicas {
        let note = |note: &String| note.contains("--insecure-peers");
        assert!(replica.notes.iter().any(note), "{:?}", replica.notes);
        assert!(group.log(replica.id).contains("--insecure-peers"));
    }
    // The control of all the above: without keys, anybody is answered, and obeyed.
    let question = answer_to(&mut connect(group.peer_address(1)).unwrap(), &status_question());
    assert!(String::from_utf8_lossy(&question).contains("\"members\""), "{question:?}");
    let primary = group.primary();
    let order = removal(3 - primary);
    answer_to(&mut connect(group.peer_address(primary)).unwrap(), &order);
    assert!(group.await_exit(3 - primary).success());
}

#[test]
fn keys_are_rotated_while_the_group_serves() {
    let machine = Machine::take("rotation");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let keys = group.keys().expect("keys").clone();
    let old = machine.folder().join("old.keys");
    fs::copy(keys.operator(), &old).unwrap();
    let rotate = || {
        let directory = keys.directory().display().to_string();
        told(&["keys".into(), "rotate".into(), "--dir".into(), directory], machine.folder())
    };
    let ask = |keys: PathBuf| {
        let (peers, keys) = (group.peer_address(1).to_string(), keys.display().to_string());
        told(&["status", "--peers", &peers, "--keys", &keys].map(str::to_owned), machine.folder())
    };
    // The files of hosts are replaced in their places, and running replicas take them.
    rotate().expect("a rotation");
    ask(old.clone()).expect("the former keys serve until the next rotation");
    ask(keys.operator()).expect("the new keys serve");
    for id in group.ids() {
        eventually("new keys", START, || match group.log(id).contains("took new keys") {
            true => Ok(()),
            false => Err(format!("replica {id} has not taken any")),
        });
    }
    rotate().expect("another rotation");
    let why = eventually("an end of the keys of before", START, || match ask(old.clone()) {
        Err(why) => Ok(why),
        Ok(_) => Err("keys of before the last rotation serve"),
    });
    assert!(why.contains("authority") || why.contains("another group's"), "{why}");
    ask(keys.operator()).expect("the new keys serve");
    group.kill(2);
    group.start_replica(2);
    group.await_serving();
    serves(&group, 2);
    group.await_settled();
}
