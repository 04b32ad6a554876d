//! A program as a replicated service: starts, kills and queries the replicas' processes.
//!
//! Length: a group is one thing with many handles.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::binary::{crane_linux, run_bounded, told};
use super::hosts::Hosts;
use super::keys::Keys;
use super::machine::{Machine, PEER_PORT};
use super::program::Program;
use super::status::Status;
use super::wait::{SOON, START, eventually, within};

/// The number of members that a group can have.
const NODES_MAX: u8 = crane_core::limits::NODES_MAX as u8;

/// A part of the event of a server that is built again because it differs.
pub const DIFFERS: &str = "differs from the majority";

/// A group of one to seven replicas of one program, each its own `crane-linux --peers …` as it
/// would run on a host of its own. All processes end when it is dropped.
pub struct Group {
    program: Program,
    command: PathBuf,
    /// The replicas by number, including those that may join later.
    addresses: Vec<IpAddr>,
    members: Vec<u8>,
    /// The peers in each replica's command line, by its number.
    told: Vec<String>,
    data: PathBuf,
    options: Vec<String>,
    /// The options that only one replica gets, by its number.
    own_options: Vec<Vec<String>>,
    /// Variables of the daemons' environment.
    environment: Vec<(String, String)>,
    hosts: Option<Arc<Hosts>>,
    /// The keys; `None` for a command that knows none, or is to go without.
    keys: Option<Keys>,
    replicas: Vec<Option<Child>>,
    /// The log files, one for each run of a replica.
    runs: u32,
}

impl Group {
    /// Starts `count` replicas and waits until the group is in good health and every replica
    /// accepts connections.
    ///
    /// # Panics
    ///
    /// Panics if that takes longer than [`START`].
    #[must_use]
    pub fn start(machine: &Machine, program: Program, count: u8, options: &[&str]) -> Self {
        let mut group = Self::prepare(machine, program, count, options);
        group.start_all();
        group
    }

    /// Creates a group without starting it.
    #[must_use]
    pub fn prepare(machine: &Machine, program: Program, count: u8, options: &[&str]) -> Self {
        let mut group = Self {
            addresses: (1..=NODES_MAX).map(|id| machine.address(id).into()).collect(),
            members: (1..=count).collect(),
            told: Vec::new(),
            data: machine.folder().join("data"),
            options: options.iter().map(|&text| text.to_owned()).collect(),
            own_options: vec![Vec::new(); usize::from(NODES_MAX)],
            environment: Vec::new(),
            hosts: None,
            keys: None,
            replicas: (1..=NODES_MAX).map(|_| None).collect(),
            runs: 0,
            command: crane_linux().to_owned(),
            program,
        };
        group.told = vec![group.peers(); usize::from(NODES_MAX)];
        if !options.contains(&"--insecure-peers") {
            group.keys = Some(Keys::make(machine.folder().join("keys"), &group.addresses));
        }
        group
    }

    /// Does the same as [`Group::start`], with a replica on each of the hosts. The calling thread
    /// must be at a place from which all hosts can be reached, see [`Hosts::visit_hub`].
    ///
    /// # Panics
    ///
    /// Panics as [`Group::start`] does.
    #[must_use]
    pub fn start_on(machine: &Machine, hosts: &Arc<Hosts>, program: Program) -> Self {
        Self::start_on_some(machine, hosts, program, hosts.ids().last().unwrap_or(0))
    }

    /// Does the same as [`Group::start_on`], with replicas on the first `count` hosts; others may
    /// join.
    #[must_use]
    pub fn start_on_some(
        machine: &Machine,
        hosts: &Arc<Hosts>,
        program: Program,
        count: u8,
    ) -> Self {
        let mut group = Self::prepare_on(machine, hosts, program, count);
        group.start_all();
        group
    }

    /// Does the same as [`Group::start_on_some`], without starting the group.
    pub fn prepare_on(machine: &Machine, hosts: &Arc<Hosts>, program: Program, count: u8) -> Self {
        let mut group = Self::prepare(machine, program, count, &[]);
        group.addresses = hosts.ids().map(|id| hosts.address(id).into()).collect();
        group.keys = Some(Keys::make(machine.folder().join("keys-of-hosts"), &group.addresses));
        group.told = vec![group.peers(); usize::from(NODES_MAX)];
        group.hosts = Some(hosts.clone());
        group
    }

    /// Starts every replica that does not run, and waits as [`Group::start`] does.
    pub fn start_all(&mut self) {
        for id in self.ids() {
            if self.replicas[index(id)].is_none() {
                self.start_replica(id);
            }
        }
        self.await_serving();
    }

    /// Waits until all replicas are in good health and accept connections.
    pub fn await_serving(&self) {
        self.await_serving_behind(Duration::ZERO);
    }

    /// Waits until all replicas are in good health and accept connections, one of which may have to
    /// do again what has taken the group this time.
    pub fn await_serving_behind(&self, work: Duration) {
        let status = eventually("good health", START + work, || {
            let status = self.status()?;
            status.healthy(self.members.len()).map(|()| status)
        });
        for id in status.servers().map(|replica| replica.id) {
            let what = format!("a connection to replica {id}");
            eventually(&what, START + work, || TcpStream::connect(self.address(id)));
        }
    }

    /// Returns the members' numbers, which start from 1 and have no gaps until a member joins or
    /// leaves.
    pub fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        self.members.clone().into_iter()
    }

    /// Starts a replica that is to join the group. Add it by [`Group::member`], before or after.
    ///
    /// # Panics
    ///
    /// Panics if the group has a member of that number.
    pub fn start_newcomer(&mut self, id: u8) {
        assert!(!self.members.contains(&id), "replica {id} is a member already");
        let known = self.members.iter().find(|known| self.replicas[index(**known)].is_some());
        let known = self.addresses[index(*known.expect("a member that runs"))];
        self.told[index(id)] = format!("{known},{}", self.addresses[index(id)]);
        let _ = fs::remove_dir_all(self.data(id));
        self.start_replica(id);
    }

    /// Runs `crane-linux member` with these words, through the running members.
    ///
    /// # Errors
    ///
    /// Returns the command's error text.
    pub fn member(&self, words: &[&str]) -> Result<String, String> {
        self.member_later(words)()
    }

    /// Returns the same as a closure for another thread, while the group is used.
    pub fn member_later(
        &self,
        words: &[&str],
    ) -> impl FnOnce() -> Result<String, String> + Send + 'static {
        let mut line: Vec<String> =
            ["member"].iter().chain(words).map(ToString::to_string).collect();
        line.extend(self.reached());
        let base = self.program.base.clone();
        move || told(&line, &base)
    }

    /// Has an operator order a signal for the server.
    ///
    /// # Errors
    ///
    /// Returns what the command says if it fails.
    pub fn signal(&self, name: &str) -> Result<String, String> {
        let line = [vec!["signal".to_owned(), name.to_owned()], self.reached()].concat();
        told(&line, &self.program.base)
    }

    /// Waits until a removed member has ended.
    ///
    /// # Panics
    ///
    /// Panics if it does not end well.
    pub fn await_removed(&mut self, id: u8) {
        assert!(self.await_exit(id).success(), "{}", self.log(id));
        self.members.retain(|member| *member != id);
    }

    /// Adds a replica in a member's place, and waits until that one has ended.
    ///
    /// # Panics
    ///
    /// Panics if the order is refused, or the member does not end well.
    pub fn replace(&mut self, old: u8, new: u8) {
        self.start_newcomer(new);
        let address = self.peer_address(new).to_string();
        self.member(&["replace", &old.to_string(), &address]).expect("the member is replaced");
        self.await_removed(old);
        self.members.push(new);
    }

    /// Records that the group has these members from now on.
    pub fn now_has(&mut self, members: &[u8]) {
        self.members = members.to_vec();
    }

    /// Returns the address at which clients reach the service on this replica.
    #[must_use]
    pub fn address(&self, id: u8) -> SocketAddr {
        SocketAddr::new(self.addresses[index(id)], self.program.port)
    }

    /// Returns the addresses at which clients reach the service, on all replicas.
    #[must_use]
    pub fn all_addresses(&self) -> Vec<SocketAddr> {
        self.ids().map(|id| self.address(id)).collect()
    }

    /// Returns the data directory of a replica.
    #[must_use]
    pub fn data(&self, id: u8) -> PathBuf {
        self.data.join(id.to_string())
    }

    /// Returns the files that the server of this replica has changed, if it runs in an overlay.
    #[must_use]
    pub fn upper(&self, id: u8) -> PathBuf {
        self.data(id).join("upper")
    }

    /// Reads a file of the service as this replica's server left it. `name` is relative to its
    /// working directory.
    ///
    /// # Errors
    ///
    /// Returns the error of reading.
    pub fn file(&self, id: u8, name: &str) -> std::io::Result<Vec<u8>> {
        let base = self.program.base.strip_prefix("/").expect("an absolute folder");
        fs::read(self.upper(id).join(base).join(name))
    }

    /// Returns the program that is replicated.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Returns the program, to change it while the group is stopped.
    pub fn program_mut(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Sets the options of the command, for replicas that start from now on.
    pub fn options_mut(&mut self) -> &mut Vec<String> {
        &mut self.options
    }

    /// Sets the command that replicas run which start from now on.
    pub fn run_command(&mut self, command: &Path) {
        self.command = command.to_owned();
    }

    /// Returns the command line of a replica, without the command itself.
    #[must_use]
    pub fn arguments(&self, id: u8) -> Vec<String> {
        let mut line = vec!["--peers".into(), self.told[index(id)].clone(), "--self".into()];
        line.push(self.addresses[index(id)].to_string());
        line.extend(["--data-dir".into(), self.data(id).display().to_string()]);
        if let Some(keys) = &self.keys {
            let file = keys.host(self.addresses[index(id)]);
            line.extend(["--keys".into(), file.display().to_string()]);
        }
        line.extend(self.options.iter().chain(&self.own_options[index(id)]).cloned());
        line.push("--".into());
        line.extend(self.program.command.iter().cloned());
        line
    }

    /// Gives options to one replica alone, from its next start on, in place of its previous ones.
    pub fn set_options(&mut self, id: u8, options: &[&str]) {
        self.own_options[index(id)] = options.iter().map(|&text| text.to_owned()).collect();
    }

    /// Sets a variable in the environment of the daemons that start from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the list of the members, as the command takes it.
    #[must_use]
    pub fn peers(&self) -> String {
        let names = self.members.iter().map(|id| self.addresses[index(*id)].to_string());
        names.collect::<Vec<_>>().join(",")
    }

    /// Returns the options by which a command of an operator reaches the group.
    #[must_use]
    pub fn reached(&self) -> Vec<String> {
        [vec!["--peers".into(), self.peers()], self.known()].concat()
    }

    /// Returns the options by which the replicas know an operator.
    #[must_use]
    pub fn known(&self) -> Vec<String> {
        match &self.keys {
            Some(keys) => vec!["--keys".into(), keys.operator().display().to_string()],
            None => vec!["--insecure-peers".into()],
        }
    }

    /// Returns the keys of the group.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Sets the keys of replicas and orders from now on.
    pub fn set_keys(&mut self, keys: Option<Keys>) {
        self.keys = keys;
    }

    /// Returns the address at which a replica listens for its peers.
    #[must_use]
    pub fn peer_address(&self, id: u8) -> SocketAddr {
        SocketAddr::new(self.addresses[index(id)], PEER_PORT)
    }

    /// Starts one replica and returns at once.
    ///
    /// # Panics
    ///
    /// Panics if it runs already, or the command cannot be started.
    pub fn start_replica(&mut self, id: u8) {
        let mut command = Command::new(&self.command);
        command.args(self.arguments(id)).current_dir(&self.program.base);
        command.envs(self.environment.iter().cloned());
        assert!(self.replicas[index(id)].is_none(), "replica {id} runs already");
        self.runs += 1;
        let log = self.data.with_file_name(format!("replica-{id}-run-{}.log", self.runs));
        let log = File::create(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second name for the log"))
            .stderr(log);
        let child = self.at_host(id, || command.spawn().expect("crane-linux"));
        self.replicas[index(id)] = Some(child);
    }

    /// Calls a function at the host of a replica, or here if the replicas have no hosts of their
    /// own.
    pub fn at_host<T: Send>(&self, id: u8, what: impl FnOnce() -> T + Send) -> T {
        match &self.hosts {
            Some(hosts) => hosts.at(id, what),
            None => what(),
        }
    }

    /// Returns the daemon's process, if this harness has started it and not ended it.
    #[must_use]
    pub fn daemon(&self, id: u8) -> Option<u32> {
        self.replicas[index(id)].as_ref().map(Child::id)
    }

    /// Runs a command that crane must refuse as replica `id` would, and waits for its end.
    ///
    /// # Panics
    ///
    /// Panics if it is not refused within [`START`].
    #[must_use]
    pub fn refused(&self, id: u8) -> Output {
        run_bounded(&self.arguments(id), &self.program.base)
    }

    /// Kills a replica's daemon and its server, as a host that loses its power would. Returns the
    /// moment of the kill.
    ///
    /// # Panics
    ///
    /// Panics if the replica does not run.
    pub fn kill(&mut self, id: u8) -> Instant {
        let server = self.status().ok().and_then(|s| s.replica(id).server_pid);
        let mut child = self.replicas[index(id)].take().expect("a running replica");
        let moment = Instant::now();
        child.kill().expect("kill");
        if let Some(pid) = server {
            // The server may be gone with its daemon already, as it should.
            let _ = kill(pid);
        }
        child.wait().expect("wait");
        moment
    }

    /// Stops a replica (SIGTERM) and waits for its end.
    ///
    /// # Panics
    ///
    /// Panics if it does not end within [`SOON`].
    pub fn stop_replica(&mut self, id: u8) -> ExitStatus {
        let mut child = self.replicas[index(id)].take().expect("a running replica");
        kill_process(pid(child.id()), Signal::TERM).expect("SIGTERM");
        await_end(&mut child, SOON).unwrap_or_else(|| {
            let _ = child.kill();
            panic!("replica {id} does not stop")
        })
    }

    /// Stops a replica's daemon as a debugger would, or lets it continue. To the others, a stopped
    /// daemon hangs.
    ///
    /// # Panics
    ///
    /// Panics if the replica does not run.
    pub fn freeze(&self, id: u8, frozen: bool) {
        let child = self.replicas[index(id)].as_ref().expect("a running replica");
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        kill_process(pid(child.id()), signal).expect("a signal");
    }

    /// Stops all replicas.
    pub fn stop(&mut self) {
        for id in self.ids() {
            if self.replicas[index(id)].is_some() {
                self.stop_replica(id);
            }
        }
    }

    /// Waits until a replica's daemon has ended by itself.
    ///
    /// # Panics
    ///
    /// Panics if it does not within [`START`].
    pub fn await_exit(&mut self, id: u8) -> ExitStatus {
        let child = self.replicas[index(id)].as_mut().expect("a running replica");
        let status = await_end(child, START);
        let status = status.unwrap_or_else(|| panic!("replica {id} still runs"));
        self.replicas[index(id)] = None;
        status
    }

    /// Returns the exit status of a replica's daemon that has ended by itself, once.
    ///
    /// # Panics
    ///
    /// Panics if the system refuses to tell.
    pub fn ended(&mut self, id: u8) -> Option<ExitStatus> {
        let child = self.replicas[index(id)].as_mut()?;
        let status = child.try_wait().expect("wait")?;
        self.replicas[index(id)] = None;
        Some(status)
    }

    /// Asks all replicas once.
    ///
    /// # Errors
    ///
    /// Returns the command's error text if it reaches no replica.
    pub fn status(&self) -> Result<Status, String> {
        let output = Command::new(crane_linux())
            .args(["status", "--json"])
            .args(self.reached())
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim().is_empty() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Status::parse(&text)
    }

    /// Returns the primary, once the group has one.
    #[must_use]
    pub fn primary(&self) -> u8 {
        eventually("a primary", SOON, || self.status()?.primary())
    }

    /// Waits until all replicas have executed everything that is committed now, with equal hashes,
    /// and no connection is open. Call it when the load is over.
    ///
    /// # Panics
    /// Panics at once if hashes differ at one slot, or did before: a server that differs is built
    /// again, and is equal to the others then. Panics after [`START`] otherwise.
    pub fn await_settled(&self) -> Status {
        self.await_settled_within(START)
    }

    /// Does the same as [`Group::await_settled`] where a server may have differed before.
    pub fn await_healed(&self) -> Status {
        self.await_equal_within(START)
    }

    /// As [`Group::await_settled`], for replicas that have more to catch up with.
    pub fn await_settled_within(&self, time: Duration) -> Status {
        let status = self.await_equal_within(time);
        let differed = |event: &&serde_json::Value| event.to_string().contains(DIFFERS);
        let mut events = status.replicas.iter().flat_map(|replica| &replica.events);
        assert_eq!(events.find(differed), None);
        status
    }

    fn await_equal_within(&self, time: Duration) -> Status {
        let count = self.members.len();
        let floor = eventually("a first status", SOON, || {
            let status = self.status()?;
            status.healthy(count).map(|()| status.committed())
        });
        let settled = eventually("equal hashes, no connection", time, || {
            let status = self.status()?;
            if let Some(difference) = status.diverged() {
                return Ok(Err(difference));
            }
            status.settled(count, floor)?;
            if status.servers().any(|r| r.connections != Some(0)) {
                return Err(format!("connections are open: {}", status.brief()));
            }
            Ok::<_, String>(Ok(status))
        });
        settled.unwrap_or_else(|difference| panic!("{difference}"))
    }

    /// Returns the text of all log files of a replica.
    #[must_use]
    pub fn log(&self, id: u8) -> String {
        let mut text = String::new();
        for run in 1..=self.runs {
            let path = self.data.with_file_name(format!("replica-{id}-run-{run}.log"));
            text.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
        }
        text
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for id in 1..=NODES_MAX {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(15)..];
                eprintln!("--- end of the log of replica {id}\n{}", tail.join("\n"));
            }
        }
        for child in self.replicas.iter_mut().flatten() {
            // A server ends with its daemon.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Kills a process that a group's status named.
///
/// # Errors
///
/// Returns an error if the process is gone.
pub fn kill(process: u32) -> std::io::Result<()> {
    Ok(kill_process(pid(process), Signal::KILL)?)
}

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).expect("a process number");
    assert!(number > 1, "process {number} is not ours to end");
    Pid::from_raw(number).expect("a process number")
}

fn await_end(child: &mut Child, bound: Duration) -> Option<ExitStatus> {
    within(bound, || child.try_wait().expect("wait").ok_or(())).ok()
}

fn index(id: u8) -> usize {
    usize::from(id) - 1
}
