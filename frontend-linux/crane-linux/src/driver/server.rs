//! The server's life: start, output, end, and being built again by replay.

use std::io;
use std::path::Path;
use std::rc::Rc;

use crane_core::id::{NodeId, Slot};
use crane_core::time::{Duration, Instant};
use crane_shm::region::TROUBLE_BYTES;
use crane_shm::{DaemonSide, ServerState};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::pipe;
use tokio::task::spawn_local;
use tracing::{error, info};

use crate::cell::{self, Report, upper};
use crate::event::Event;
use crate::options::ServerFsync;
use crate::report::{Ending, ServerReport};

use super::rooms::ServerRun;
use super::{CellReports, Driver};

/// How long a replica whose server has died waits to hear that the others' have, too.
const JUDGE_AFTER: Duration = Duration::from_millis(1000);
/// A server that dies so often at one clock, and only here, will die there again.
const SAME_END_MAX: u32 = 3;
/// Records that are taken before something else has its turn.
const RECORDS_PER_PASS: usize = 1024;
/// How soon to look at the output of a server that goes on running.
const LOOK_AT_OUTPUT: Duration = Duration::from_millis(5);
/// A replica whose server is further behind lets others be primary.
const IN_STEP_WITHIN: u64 = 2000;

impl Driver {
    /// Starts the server in a fresh cell. Its script begins with slot 1.
    pub(super) async fn start_server(&mut self) {
        self.server.wanted = false;
        self.server.runs += 1;
        match self.try_start().await {
            Ok(run) => {
                self.server.run = Some(Box::new(run));
                self.server.watch_state(self.is_primary());
            }
            Err(why) => self.fail(format!("the server cannot be started: {why}")),
        }
    }

    async fn try_start(&mut self) -> Result<ServerRun, String> {
        let directory = self.settings.data.run();
        let (region, wake) = (directory.join("region"), directory.join("wake"));
        // New files: a server of a former life, which may still be dying, keeps the old ones.
        for path in [&region, &wake] {
            upper::remove_file(path)?;
        }
        let mut name = region.as_os_str().as_encoded_bytes().to_vec();
        name.push(0);
        let me = u32::from(self.me().number());
        let shared =
            DaemonSide::create(&name, me, self.clients.generation().0).map_err(|number| {
                format!("{}: {}", region.display(), io::Error::from_raw_os_error(number))
            })?;
        let args = &self.settings.args;
        shared.set_keep_fsync(args.server_fsync == ServerFsync::Keep);
        let wake = make_fifo(&wake)?;
        // SAFETY: the file was just made, and this run is the daemon's only owner of its ends.
        let (script, output) = unsafe { shared.ends() };

        let spec = self.settings.spec.as_ref().expect("a witness wants no server");
        let cell = cell::start(spec).await.map_err(|error| error.to_string())?;
        let number = self.server.runs;
        spawn_local(pass_reports(number, cell.reports, self.cell_reports.clone()));
        spawn_local(pass_lines(cell.stdout, false));
        spawn_local(pass_lines(cell.stderr, true));
        Ok(ServerRun {
            number,
            region: shared,
            script,
            output,
            wake,
            cell: cell.child,
            fed: Slot::NONE,
        })
    }

    pub(super) fn on_cell_report(&mut self, number: u64, report: Report) {
        if self.server.run.as_ref().is_none_or(|run| run.number != number) {
            return;
        }
        match report {
            Report::Overlay => self.server.cell = Some("overlay"),
            Report::Copy(why) => {
                self.server.cell = Some("copy");
                self.warn_operator(format!(
                    "namespaces are not permitted here ({why}): the server runs on a private copy \
                     of its working directory, and sees other paths and process numbers than \
                     servers in namespaces do"
                ));
            }
            Report::Started => self.record_event(Event::ServerStarted),
            Report::Failed(why) => self.fail(format!("the server cannot be started: {why}")),
            Report::Exited(status) => self.on_server_end(Ending::Exited(status)),
            Report::Killed(signal) => self.on_server_end(Ending::Killed(signal)),
        }
    }

    /// Takes what the server has said. Says whether there was anything.
    pub(super) fn take_output(&mut self) -> bool {
        let Some(mut run) = self.server.take() else { return false };
        let mut count = 0;
        while count < RECORDS_PER_PASS {
            match run.output.peek() {
                Ok(Some(record)) => {
                    self.on_output(&record);
                    run.output.pop();
                    count += 1;
                }
                Ok(None) => break,
                Err(error) => {
                    self.fail(format!("the server has damaged the shared memory: {error}"));
                    break;
                }
            }
        }
        self.clients.send_appended();
        let region = run.region;
        if count > 0 {
            region.ring_output();
        }
        let admitted = Slot(region.admitted());
        let running = region.state() == ServerState::Running;
        self.server.put_back(run);
        if running && self.clients.has_clients() {
            // A server that computes for long rings only for every few of its writes.
            self.look_again_at(self.clock.now() + LOOK_AT_OUTPUT);
        }
        self.consider_clients(admitted);
        let in_step = admitted.0.saturating_add(IN_STEP_WITHIN) >= self.committed.0;
        self.node.set_in_step(in_step);
        if self.reports[self.me().index()] == (ServerReport::Alive { in_step: !in_step }) {
            self.reports[self.me().index()] = ServerReport::Alive { in_step };
            self.send_report_to_all();
        }
        count > 0
    }

    /// The server's program has ended, or was ended.
    fn on_server_end(&mut self, ending: Ending) {
        while self.take_output() {}
        let Some(run) = self.server.take() else { return };
        let region = run.region;
        region.set_exited();
        let clock = region.clock();
        let admitted = region.admitted();
        let mut space = [0; TROUBLE_BYTES];
        let trouble = String::from_utf8_lossy(region.trouble(&mut space)).into_owned();
        let mut text = format!("the server's program {ending} at clock {clock}, slot {admitted}");
        self.server.ended_early = !self.clients.listens();
        if self.server.ended_early {
            text.push_str(", before it listened at a port");
        }
        if !trouble.is_empty() {
            text.push_str(&format!(": {trouble}"));
        }
        error!("{text}");
        self.events.record(Event::ServerEnded { text: text.clone() });
        self.last_error = Some(text);
        self.reports[self.me().index()] = ServerReport::Ended { clock, admitted, ending };
        self.send_report_to_all();
        let times = match self.server.last_end {
            Some((before, times)) if before == clock => times + 1,
            _ => 1,
        };
        self.server.last_end = Some((clock, times));
        self.server.rebuild_at = Some(self.clock.now() + JUDGE_AFTER);
        self.close_listeners();
        self.resign();
        self.judge_end();
    }

    pub(super) fn on_server_report(&mut self, from: NodeId, report: ServerReport) {
        if let ServerReport::Ended { clock, ending, .. } = report {
            info!("the server of replica {from} {ending} at clock {clock}");
        }
        self.reports[from.index()] = report;
        self.judge_end();
    }

    /// A program that ends at one point on a majority ends there by itself.
    fn judge_end(&mut self) {
        let mine = self.reports[self.me().index()];
        let ServerReport::Ended { clock, ending, .. } = mine else { return };
        // No program kills itself in this way; hosts do.
        if ending == Ending::Killed(libc::SIGKILL) {
            return;
        }
        let servers = self.servers();
        let report = |node: NodeId| &self.reports[node.index()];
        let same = servers.iter().filter(|node| report(*node).same_end(&mine)).count();
        let members = servers.len();
        if same < members / 2 + 1 {
            return;
        }
        // A server that has never listened has not done its work, whatever it says.
        let early = self.server.ended_early;
        let status = i32::from(early || ending != Ending::Exited(0));
        let early = if early { ", before it listened at a port" } else { "" };
        let program = self.program();
        self.end(
            status,
            format!(
                "{program} {ending} at clock {clock} on {same} of {members} replicas{early}: the \
                 program has ended by itself"
            ),
        );
    }

    /// The time to hear of the others is over: this server died alone.
    pub(super) fn reconsider_end(&mut self, now: Instant) {
        if self.server.rebuild_at.is_none_or(|at| now < at) {
            return;
        }
        self.server.rebuild_at = None;
        if self.server.last_end.is_some_and(|(_, times)| times >= SAME_END_MAX) {
            let program = self.program();
            return self.fail(format!(
                "{program} has died {SAME_END_MAX} times at one clock, and only here: this host is \
                 not like the others"
            ));
        }
        info!("the server is built again, by replay from the first slot");
        self.begin_generation();
        self.reports[self.me().index()] = ServerReport::Alive { in_step: false };
        self.send_report_to_all();
        self.server.want();
    }

    fn send_report_to_all(&mut self) {
        for node in self.others().iter() {
            self.send_server_report(node);
        }
    }

    /// What the server's program is called in messages: as it was given, not where a link leads.
    fn program(&self) -> String {
        let spec = self.settings.spec.as_ref();
        spec.map_or_else(|| "no program".into(), |spec| spec.arguments[0].clone())
    }
}

/// The pipe by which the server's process wakes the daemon. Opened for both directions: it has no
/// end.
fn make_fifo(path: &Path) -> Result<pipe::Receiver, String> {
    let name = upper::c_path(path)?;
    let describe = |error: io::Error| format!("{}: {error}", path.display());
    // SAFETY: the path is a live string with its zero byte.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
        return Err(describe(io::Error::last_os_error()));
    }
    pipe::OpenOptions::new().read_write(true).open_receiver(path).map_err(describe)
}

async fn pass_reports(number: u64, reports: pipe::Receiver, to: Rc<CellReports>) {
    let mut lines = BufReader::new(reports).lines();
    let mut ended = false;
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(report) = Report::parse(&line) {
            ended |= matches!(report, Report::Exited(_) | Report::Killed(_) | Report::Failed(_));
            to.send((number, report)).await;
        }
    }
    if !ended {
        // Somebody has killed the whole cell.
        to.send((number, Report::Killed(libc::SIGKILL))).await;
    }
}

/// The server's own words go where the daemon's go, line by line.
async fn pass_lines(stream: impl AsyncRead + Unpin, to_error_output: bool) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']);
                // A daemon whose own output is closed goes on.
                use std::io::Write;
                let _ = if to_error_output {
                    writeln!(io::stderr(), "{text}")
                } else {
                    writeln!(io::stdout(), "{text}")
                };
            }
        }
    }
}
