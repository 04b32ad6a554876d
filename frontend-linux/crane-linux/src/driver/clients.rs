//! The clients that connected to this replica: their ops on the way to the log, and the server's
//! replies on the way to them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crane_core::id::{Generation, Slot};
use crane_core::wire::{Endpoint, Op};
use crane_shm::RingRecord;
use crane_shm::region::output;
use tracing::{debug, error, info};

use crate::net::frame::FrameKind;
use crate::net::ops::{self, OPS_BYTES_MAX};

use super::rooms::{Clients, Finding, FindingKind, OP_BYTES_MAX, OpenConn};
use super::{ClientCommand, ClientInput, Driver, Host, ServerListener};

/// The number of bytes of ops that go to the primary in one frame: they fit into one entry.
const FRAME_BYTES: usize = OPS_BYTES_MAX - OP_BYTES_MAX;

impl<H: Host> Driver<H> {
    /// Handles an action of a client.
    pub(super) fn on_client_input(&mut self, key: u64, what: ClientInput) {
        let clients = &mut self.clients;
        if let ClientInput::Connected { local, peer } = what {
            let conn = clients.open_conn(key);
            return clients.keep(&Op::Connect { conn, local, peer });
        }
        // Connections of a former generation have ended, whatever their clients do.
        let Some(&number) = clients.numbers.get(&key) else { return };
        let id = clients.conn_id(number);
        let kept = &mut clients.conns.get_mut(&number).expect("a number has a connection").kept;
        let total = *kept;
        match what {
            ClientInput::Connected { .. } => unreachable!("handled above"),
            ClientInput::Sent(bytes) => {
                *kept += bytes.len() as u64;
                clients.keep(&Op::Send { conn: id, offset: total, bytes: &bytes });
            }
            ClientInput::Shut => clients.keep(&Op::Shut { conn: id, total }),
            ClientInput::Gone => clients.keep(&Op::Reset { conn: id }),
            ClientInput::Drained(total) => clients.keep(&Op::Drained { conn: id, total }),
            ClientInput::Over => {
                clients.conns.remove(&number);
                clients.numbers.remove(&key);
            }
        }
    }

    /// Resets all clients. The next ones belong to another generation, once that generation is kept
    /// on the disk.
    pub(super) fn begin_generation(&mut self) {
        self.clients.conns.clear();
        for key in std::mem::take(&mut self.clients.numbers).into_keys() {
            self.host.command_client(key, ClientCommand::Reset);
        }
        self.meta.generation = self.meta.next_generation(self.moment.unix);
        self.next_generation = Some(Generation(self.meta.generation));
        self.host.keep_meta(&self.meta);
    }

    /// Returns the generation of this replica's clients, or the one that is about to begin.
    pub(super) fn own_generation(&self) -> Generation {
        self.next_generation.unwrap_or_else(|| self.clients.generation())
    }

    /// Begins a generation above one of this replica that the log knows. The replica may have lost
    /// the file that kept it, and the host's clock may have been set back.
    // specs: E8
    pub(super) fn begin_generation_above(&mut self, known: Generation) {
        self.meta.generation = self.meta.generation.max(known.0);
        self.begin_generation();
    }

    pub(super) fn on_meta_kept(&mut self, generation: Generation) {
        // An older generation may be kept when the next one has already begun.
        if self.next_generation.take_if(|next| *next == generation).is_none() {
            return;
        }
        if self.fence.on_kept(generation) {
            return self.end_to_begin_again(
                "the others know a later generation of this replica than the host's clock gives: \
                 starting again above it"
                    .to_string(),
            );
        }
        self.host.set_first_generation(generation);
        let fresh = Clients::new(self.me(), generation);
        let old = std::mem::replace(&mut self.clients, fresh);
        self.clients.ports = old.ports;
        (self.clients.open_at, self.clients.open) = (old.open_at, old.open);
    }

    /// Closes the listeners, because the server starts again and will announce its ports again.
    pub(super) fn close_listeners(&mut self) {
        for at in std::mem::take(&mut self.clients.ports).into_keys() {
            self.host.close_port(&at);
        }
        (self.clients.open_at, self.clients.open) = (None, false);
    }

    /// Forwards ops to the primary. Returns whether any of them went to this replica itself.
    pub(super) fn forward_ops(&mut self) -> bool {
        let now = self.now();
        let Some(primary) = self.node.primary() else { return false };
        if primary == self.me() {
            let mut any = false;
            let mut ops = std::mem::take(&mut self.clients.frame);
            while let Some(range) = self.clients.next_range(now, FRAME_BYTES, &mut ops) {
                self.take_ops(primary, &range, &ops);
                self.events.counters.ops_handed_over += u64::from(range.count);
                any = true;
            }
            self.clients.frame = ops;
            return any;
        }
        if !self.is_linked(primary) {
            return false;
        }
        let mut ops = std::mem::take(&mut self.clients.frame);
        while let Some(range) = self.clients.next_range(now, FRAME_BYTES, &mut ops) {
            let mut frame = ops::begin(&range);
            frame.extend_from_slice(&ops);
            self.events.counters.ops_handed_over += u64::from(range.count);
            self.host.send_frame(primary, FrameKind::Ops, &frame);
        }
        self.clients.frame = ops;
        false
    }

    /// Handles a record of the server's output.
    pub(super) fn on_output(&mut self, record: &RingRecord<'_>) {
        if self.server.stopped_for.is_some() {
            // The server is being ended, and may be wrong.
            return;
        }
        let [number, generation, total] = record.numbers;
        match record.kind {
            output::LISTEN | output::UNLISTEN => {
                let (Ok(port), Some((address, path))) =
                    (u16::try_from(number), record.bytes.split_first_chunk())
                else {
                    return debug!("the server listens at no address");
                };
                let (address, path) = (*address, OsStr::from_bytes(path));
                let at = Endpoint { address, port };
                let at = ServerListener { at, v6only: generation != 0 };
                let begins = record.kind == output::LISTEN;
                return if begins { self.on_listen(at, path.into()) } else { self.on_unlisten(at) };
            }
            output::NOTE => return self.on_note(number, &String::from_utf8_lossy(record.bytes)),
            _ => {}
        }
        if generation != self.clients.generation().0 {
            return;
        }
        let Some(OpenConn { key, sent, .. }) = self.clients.conns.get_mut(&number) else { return };
        let key = *key;
        let command = match record.kind {
            output::DATA => {
                // A server that was made from its checkpoint writes some bytes once more.
                let known = sent.saturating_sub(total) as usize;
                *sent = (*sent).max(total + record.bytes.len() as u64);
                match record.bytes.get(known..).filter(|bytes| !bytes.is_empty()) {
                    Some(bytes) => ClientCommand::Send(bytes),
                    None => return,
                }
            }
            output::FIN => ClientCommand::Shut,
            output::CLOSE => ClientCommand::Close,
            output::RESET => ClientCommand::Reset,
            output::CONSUMED => ClientCommand::Consumed(total),
            other => return debug!("the server says something unknown: {other}"),
        };
        self.host.command_client(key, command);
    }

    fn on_note(&mut self, level: u64, text: &str) {
        match level {
            0 => {
                error!("server: {text}");
                let kind = FindingKind::Reported(xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
                self.find(kind, Finding { text: format!("server: {text}"), is_fault: true });
            }
            1 => self.warn_operator(format!("server: {text}")),
            _ => info!("server: {text}"),
        }
    }

    pub(super) fn on_listen(&mut self, at: ServerListener, path: PathBuf) {
        let is_known = self.clients.ports.contains_key(&at);
        let port = self.clients.ports.entry(at).or_default();
        port.sockets += 1;
        if port.sockets == 1 && !is_known {
            port.path = path;
            self.server.has_listened = true;
            info!("the server listens at {}", name_of(&at, &port.path));
            if self.clients.open {
                let path = port.path.clone();
                self.open_port(&at, &path);
            }
        }
    }

    pub(super) fn on_unlisten(&mut self, at: ServerListener) {
        let Some(port) = self.clients.ports.get_mut(&at) else { return };
        port.sockets -= 1;
        if port.sockets == 0 {
            info!("the server listens no more at {}", name_of(&at, &port.path));
            self.clients.ports.remove(&at);
            self.clear_finding(FindingKind::Unreached(at));
            self.host.close_port(&at);
        }
    }

    fn open_port(&mut self, at: &ServerListener, path: &Path) {
        match self.host.open_port(at, path) {
            Ok(None) => {}
            // Not a fault: many servers listen at both families on hosts that have one.
            Ok(Some(text)) => {
                self.find(FindingKind::Unreached(*at), Finding { text, is_fault: false });
            }
            Err(why) => self.fail(why),
        }
    }

    /// Lets no more clients connect, for a while. The server still listens.
    pub(super) fn close_to_clients(&mut self) {
        for at in self.clients.ports.keys() {
            self.host.close_port(at);
        }
        (self.clients.open_at, self.clients.open) = (None, false);
    }

    /// Lets clients connect once the server has admitted what the group had committed when this
    /// replica joined it.
    pub(super) fn consider_clients(&mut self, admitted: Slot) {
        if self.clients.open || self.node.primary().is_none() || self.health.refuses {
            return;
        }
        let target = *self.clients.open_at.get_or_insert(self.committed);
        if admitted < target {
            return;
        }
        self.clients.open = true;
        for (at, port) in self.clients.ports.clone() {
            self.open_port(&at, &port.path);
        }
    }
}

/// Names a place where the server listens, for people.
fn name_of(at: &ServerListener, path: &Path) -> String {
    match at.at.is_unix() {
        true => path.display().to_string(),
        false => format!("port {}", at.at.port),
    }
}
