//! Upgrades of a server: another command takes its place on all replicas.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crane_test::e2e::binary::told;
use crane_test::e2e::checkpoints::await_start_from;
use crane_test::e2e::group::Group;
use crane_test::e2e::http::fetch;
use crane_test::e2e::machine::Machine;
use crane_test::e2e::program::{self, PAGE};
use crane_test::e2e::resp::{Connection, Reply};
use crane_test::e2e::wait::{ANSWER, START, eventually};

use crate::incarnations::{incarnations, require_kept, while_writing};

/// Upgrades a group to a command. Returns what the command prints.
fn upgrade(group: &Group, command: &[String]) -> Result<String, String> {
    let mut line = vec!["upgrade".to_owned()];
    line.extend(group.reached());
    line.push("--".to_owned());
    line.extend(command.iter().cloned());
    told(&line, &group.program().base)
}

/// Returns a setting of redis at a replica.
fn setting(group: &Group, id: u8, name: &str) -> String {
    eventually("a setting", START, || {
        let mut connection = Connection::open(group.address(id), ANSWER)?;
        let reply = connection.call(&[b"CONFIG", b"GET", name.as_bytes()])?;
        let Reply::List(words) = reply else { panic!("{reply:?}") };
        let Some(Reply::Bulk(Some(value))) = words.into_iter().nth(1) else { panic!("no value") };
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&value).into_owned())
    })
}

#[test]
fn redis_gets_other_arguments_and_keeps_each_acknowledged_write() {
    let machine = Machine::take("upgrade-redis");
    let mut group = Group::start(&machine, program::redis(machine.folder()), 3, &[]);
    let old = group.program().command.clone();
    let mut new = old.clone();
    new.extend(["--maxmemory".into(), "100000000".into()]);
    assert_eq!(setting(&group, 1, "maxmemory"), "0");
    let nowhere = upgrade(&group, &["/usr/bin/no-such-server".into()]).unwrap_err();
    assert!(nowhere.contains("replica 1") && nowhere.contains("no-such-server"), "{nowhere}");
    assert_eq!(incarnations(&group), [Some(1); 3]);
    let counts = while_writing(&group, || {
        sleep(Duration::from_millis(500));
        println!("redis: {}", upgrade(&group, &new).unwrap());
        sleep(Duration::from_millis(500));
    });
    require_kept(&group, &counts);
    for id in group.ids() {
        assert_eq!(setting(&group, id, "maxmemory"), "100000000");
    }
    group.await_settled();

    // The old command line and the new one lead to the same: the files behind the upgrade.
    let backups: Vec<u8> = group.ids().filter(|id| *id != group.primary()).collect();
    for (id, command) in backups.iter().zip([&old, &new]) {
        group.kill(*id);
        group.program_mut().command.clone_from(command);
        group.start_replica(*id);
        group.await_serving();
        assert_eq!(setting(&group, *id, "maxmemory"), "100000000");
        let status = group.await_settled();
        let from = &status.replica(*id).checkpoint["started_from"];
        assert!(from.as_u64().is_some_and(|slot| slot > 0), "it has replayed: {from}");
    }
    let log = group.log(backups[0]);
    assert!(log.contains("the group was upgraded: the server's command is"), "{log}");
    assert_eq!(incarnations(&group), [Some(2); 3]);
    require_kept(&group, &counts);

    // Another command is neither.
    let id = backups[0];
    group.stop_replica(id);
    group.program_mut().command.push("--maxclients".into());
    group.program_mut().command.push("9".into());
    let refused = group.refused(id);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("since an upgrade"), "{text}");
    // The others would run what it lacks.
    let down = upgrade(&group, &old).unwrap_err();
    assert!(down.contains("does not answer"), "{down}");
    group.program_mut().command.clone_from(&new);
    group.start_replica(id);
    group.await_serving();
    // Back again: an upgrade like any other.
    println!("redis: {}", upgrade(&group, &old).unwrap());
    assert_eq!(setting(&group, id, "maxmemory"), "0");
    group.await_settled();
    require_kept(&group, &counts);

    // One that has lost everything runs all three programs, which are still there, or begins behind
    // an upgrade whose files are proved.
    group.kill(id);
    fs::remove_dir_all(group.data(id)).unwrap();
    group.program_mut().command.clone_from(&old);
    group.start_replica(id);
    group.await_serving();
    let from = group.await_settled().replica(id).checkpoint["started_from"].clone();
    println!("redis: replica {id}, which was wiped, has started from {from}");
    assert_eq!(incarnations(&group), [Some(3); 3]);
    require_kept(&group, &counts);
}

#[test]
fn civetweb_gets_another_directory_of_pages() {
    let machine = Machine::take("upgrade-web");
    let mut group = Group::start(&machine, program::civetweb(machine.folder(), 8), 3, &[]);
    assert_eq!(fetch(group.address(1), PAGE, ANSWER).unwrap().body, program::small_page());
    let base = group.program().base.clone();
    let (before, pages) = (base.join("www"), base.join("pages"));
    fs::create_dir(&pages).unwrap();
    fs::write(pages.join("index.html"), "the new pages").unwrap();
    let new: Vec<String> = group
        .program()
        .command
        .iter()
        .map(|word| word.replace(before.to_str().unwrap(), pages.to_str().unwrap()))
        .collect();
    println!("civetweb: {}", upgrade(&group, &new).unwrap());
    let page = |id: u8, group: &Group| {
        let page = eventually("a page", START, || fetch(group.address(id), PAGE, ANSWER));
        String::from_utf8_lossy(&page.body).into_owned()
    };
    for id in group.ids() {
        assert_eq!(page(id, &group), "the new pages");
    }
    group.await_settled();

    // Without the old pages, which lie in the working directory, the base is another one.
    let (id, aside) = (group.ids().find(|id| *id != group.primary()).unwrap(), machine.folder());
    let aside = aside.join("old pages");
    fs::rename(&before, &aside).unwrap();
    group.program_mut().command.clone_from(&new);
    group.stop_replica(id);
    let refused = String::from_utf8_lossy(&group.refused(id).stderr).into_owned();
    assert!(refused.contains("change it by crane-linux upgrade"), "{refused}");
    fs::rename(&aside, &before).unwrap();
    group.start_replica(id);
    group.await_serving();
    fs::remove_dir_all(&before).unwrap();
    println!("civetweb: {}", upgrade(&group, &new).unwrap());

    // Behind a cut, a replica that has lost everything needs no program of the past.
    let slot = eventually("a cut of the logs", START, || {
        for _ in 0..20 {
            assert_eq!(page(1, &group), "the new pages");
        }
        let status = group.status()?;
        // The files behind the last upgrade.
        let newest = status.replica(1).checkpoint["newest"].as_u64();
        let fronts: Vec<_> = status.servers().map(|it| it.log["behind"].as_u64()).collect();
        let are_cut = fronts.iter().all(|front| *front == newest);
        newest.filter(|_| are_cut).ok_or_else(|| format!("{newest:?}, cut behind {fronts:?}"))
    });
    group.kill(id);
    fs::remove_dir_all(group.data(id)).unwrap();
    group.start_replica(id);
    await_start_from(&group, id, |from| from >= slot);
    assert_eq!(page(id, &group), "the new pages");
    group.await_settled();
    assert_eq!(incarnations(&group), [Some(3); 3]);
}
