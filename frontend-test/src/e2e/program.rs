//! The server programs under test, with their commands, folders and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::binary;
use super::machine::free_port;

/// A server program in its own folder, ready to run natively or as a service.
#[derive(Clone, Debug)]
pub struct Program {
    /// The name, for messages and folders.
    pub name: &'static str,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The port at which it listens.
    pub port: u16,
    /// The working directory, which is part of the group's base, so that no test may write here.
    pub base: PathBuf,
}

/// The number of bytes of the large page and of the large value, which is more than all windows on
/// the way together.
pub const LARGE: usize = 10 << 20;
/// The small page.
pub const PAGE: &str = "/index.html";
/// The large page.
pub const LARGE_PAGE: &str = "/large.bin";

/// Returns Debian's civetweb with a small and a large page. It has `threads` threads, each of which
/// serves a connection.
///
/// # Panics
///
/// Panics if the files cannot be written.
#[must_use]
pub fn civetweb(folder: &Path, threads: u16) -> Program {
    let base = base(folder, "civetweb");
    let www = base.join("www");
    fs::create_dir_all(&www).expect("the pages' folder");
    fs::write(www.join("index.html"), small_page()).expect("the small page");
    fs::write(www.join("large.bin"), large_content()).expect("the large page");
    let port = free_port();
    // A relative document root would be looked for beside the program, not in the folder.
    let www = www.display();
    let command = format!(
        "/usr/bin/civetweb -document_root {www} -listening_ports {port} -num_threads {threads} \
         -enable_keep_alive yes -keep_alive_timeout_ms 60000 -listen_backlog 200 \
         -tcp_nodelay 1"
    );
    Program { name: "civetweb", command: words(&command), port, base }
}

/// Returns Debian's redis with an append-only file and no other reason to write or fork.
#[must_use]
pub fn redis(folder: &Path) -> Program {
    let port = free_port();
    let mut command = words(&format!("/usr/bin/redis-server --port {port}"));
    command.extend(["--save".into(), String::new()]);
    command.extend(words("--appendonly yes --auto-aof-rewrite-percentage 0"));
    Program { name: "redis", command, port, base: base(folder, "redis") }
}

/// Debian's memcached, for any user.
#[must_use]
pub fn memcached(folder: &Path) -> Program {
    let port = free_port();
    let command = words(&format!("/usr/bin/memcached -u root -p {port} -t 4"));
    Program { name: "memcached", command, port, base: base(folder, "memcached") }
}

/// Debian's clamd, with one signature.
///
/// # Panics
///
/// Panics if its files cannot be written.
#[must_use]
pub fn clamd(folder: &Path) -> Program {
    let (base, port) = (base(folder, "clamd"), free_port());
    let signatures = base.join("signatures");
    fs::create_dir_all(&signatures).expect("the signatures' folder");
    let signature = "44d88612fea8a8f36de82e1278abb02f:68:Eicar-Test\n";
    fs::write(signatures.join("test.hdb"), signature).expect("the signature");
    let options = format!(
        "TCPSocket {port}\nDatabaseDirectory {}\nForeground yes\nUser root\n",
        signatures.display()
    );
    fs::write(base.join("clamd.conf"), options).expect("the options");
    let command = words("/usr/sbin/clamd --foreground -c clamd.conf");
    Program { name: "clamd", command, port, base }
}

/// Debian's node with a script that counts requests.
///
/// # Panics
///
/// Panics if the script cannot be copied.
#[must_use]
pub fn node(folder: &Path) -> Program {
    let (base, port) = (base(folder, "node"), free_port());
    let script = binary::programs().join("runtimes/count.js");
    fs::copy(script, base.join("count.js")).expect("count.js");
    let command = words(&format!("/usr/bin/node count.js {port}"));
    Program { name: "node", command, port, base }
}

/// Returns the same as [`redis`], for separate hosts: Redis refuses clients that are not on the
/// loopback.
#[must_use]
pub fn redis_on_hosts(folder: &Path) -> Program {
    let mut program = redis(folder);
    program.command.extend(words("--protected-mode no"));
    program
}

/// Returns Python's `ThreadingHTTPServer` with a script that counts POSTs.
///
/// # Panics
///
/// Panics if the script cannot be copied.
#[must_use]
pub fn python(folder: &Path) -> Program {
    let base = base(folder, "python");
    fs::copy(binary::programs().join("counter.py"), base.join("counter.py")).expect("counter.py");
    let port = free_port();
    let command = words(&format!("/usr/bin/python3 -B counter.py {port}"));
    Program { name: "python", command, port, base }
}

/// Returns Debian's MariaDB, in a fresh data directory, with a user `app` that may do everything,
/// from everywhere, without a password.
///
/// # Panics
///
/// Panics if the data directory cannot be made.
#[must_use]
pub fn mariadb(folder: &Path) -> Program {
    let base = base(folder, "mariadb");
    let data = base.join("data");
    let options = ["--no-defaults", "--user=root", "--innodb-log-file-size=4M"];
    let made = Command::new("mariadb-install-db")
        .args(options)
        .arg(format!("--datadir={}", data.display()))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .output()
        .expect("mariadb-install-db");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    let users = base.join("users.sql");
    let user = "create or replace user app@'%';\ngrant all on *.* to app@'%' with grant option;\n";
    fs::write(&users, user).expect("the users");
    let port = free_port();
    let mut command = words("/usr/sbin/mariadbd");
    command.extend(options.map(str::to_owned));
    command.push(format!("--datadir={}", data.display()));
    command.push(format!("--init-file={}", users.display()));
    command.extend(words("--socket=mariadb.sock --innodb-buffer-pool-size=16M"));
    command.push(format!("--port={port}"));
    Program { name: "mariadb", command, port, base }
}

/// Returns a program of `frontend-test/programs`, compiled into its folder.
///
/// # Panics
///
/// Panics if there is no C compiler or the program does not compile.
#[must_use]
pub fn compiled(folder: &Path, name: &'static str, flags: &[&str]) -> Program {
    let base = base(folder, name);
    let source = binary::programs().join(format!("{name}.c"));
    let done = Command::new("cc")
        .args(["-O1", "-g", "-Wall", "-Werror", "-pthread"])
        .args(flags)
        .arg("-o")
        .arg(base.join(name))
        .arg(&source)
        .status()
        .expect("cc");
    assert!(done.success(), "{} does not compile", source.display());
    let port = free_port();
    Program { name, command: vec![format!("./{name}"), port.to_string()], port, base }
}

/// Returns a server at these places, each `ADDRESS/PORT` or the path of a Unix socket, which
/// answers a line with the names of both ends.
///
/// # Panics
///
/// Panics if there is no C compiler or the program does not compile.
#[must_use]
pub fn at_places(folder: &Path, places: &[&str]) -> Program {
    let mut program = compiled(folder, "places", &[]);
    program.command.truncate(1);
    program.command.extend(places.iter().map(|&place| place.to_owned()));
    program
}

/// Returns the small page, of 1 KiB.
#[must_use]
pub fn small_page() -> Vec<u8> {
    (0..1024).map(|index| b"crane page 0123456789 abcdefghi\n"[index % 32]).collect()
}

/// Returns [`LARGE`] bytes in which no two places are alike, so that a lost or doubled piece shows.
#[must_use]
pub fn large_content() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LARGE);
    let mut number = 0u64;
    while bytes.len() < LARGE {
        bytes.extend_from_slice(format!("{number:015}\n").as_bytes());
        number += 1;
    }
    bytes.truncate(LARGE);
    bytes
}

pub(super) fn base(folder: &Path, name: &str) -> PathBuf {
    let base = folder.join("base").join(name);
    fs::create_dir_all(&base).expect("the program's folder");
    base
}

pub(super) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
