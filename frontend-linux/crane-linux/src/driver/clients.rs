//! The clients that came in by this replica: their ops on the way to the log, the server's replies
//! on the way to them.

use std::net::SocketAddr;

use crane_core::id::{Generation, Slot};
use crane_core::limits::ENTRY_OPS_MAX;
use crane_core::wire::Op;
use crane_shm::RingRecord;
use crane_shm::region::output;
use tracing::{debug, error, info};

use crate::net::frame::FrameKind;
use crate::net::ops::OPS_BYTES_MAX;
use crate::proxy::{self, ClientAction, ClientEvent};

use super::Driver;
use super::rooms::{Clients, OP_BYTES_MAX};

/// Bytes of ops that go to the primary in one frame: they fit into one entry.
const FRAME_BYTES: usize = OPS_BYTES_MAX - OP_BYTES_MAX;

impl Driver {
    /// A client has done something.
    pub(super) fn on_client_event(&mut self, act: ClientEvent) {
        let ClientEvent { conn, what } = act;
        let entry = &mut self.clients;
        if what == ClientAction::Connected {
            entry.last_number += 1;
            conn.number.set(entry.last_number);
            let (local, peer) = (conn.local, conn.peer);
            entry.conns.insert(entry.last_number, conn);
            let id = entry.conn_id(entry.last_number);
            return entry.keep(&Op::Connect { conn: id, local, peer });
        }
        // Connections of a former generation are over, whatever their clients do.
        if !entry.is_ours(&conn) {
            return;
        }
        let id = entry.conn_id(conn.number.get());
        match what {
            ClientAction::Connected => unreachable!("handled above"),
            ClientAction::Sent(bytes) => {
                let offset = conn.kept.get();
                conn.kept.set(offset + bytes.len() as u64);
                entry.keep(&Op::Send { conn: id, offset, bytes: &bytes });
            }
            ClientAction::Shut => entry.keep(&Op::Shut { conn: id, total: conn.kept.get() }),
            ClientAction::Gone => entry.keep(&Op::Reset { conn: id }),
            ClientAction::Drained(total) => entry.keep(&Op::Drained { conn: id, total }),
            ClientAction::Over => {
                entry.conns.remove(&conn.number.get());
            }
        }
    }

    /// All clients are reset, and the next ones belong to another generation.
    pub(super) fn begin_generation(&mut self) {
        self.clients.reset_all();
        self.meta.generation = self.meta.next_generation();
        if let Err(why) = self.settings.data.put_meta(&self.meta) {
            return self.fail(why);
        }
        let generation = Generation(self.meta.generation);
        self.peers.hello.borrow_mut().generation = generation.0;
        self.server.set_first_generation(generation);
        let fresh = Clients::new(self.me(), generation);
        let old = std::mem::replace(&mut self.clients, fresh);
        self.clients.ports = old.ports;
        (self.clients.open_at, self.clients.open) = (old.open_at, old.open);
    }

    /// The server begins anew: it will say again where it listens.
    pub(super) fn close_listeners(&mut self) {
        self.clients.ports.clear();
        (self.clients.open_at, self.clients.open) = (None, false);
    }

    /// Hands ops to the primary. Says whether there were any for this replica itself.
    pub(super) fn forward_ops(&mut self) -> bool {
        let now = self.clock.now();
        let Some(primary) = self.node.primary() else { return false };
        if primary == self.me() {
            let mut any = false;
            while let Some(op) = self.clients.next_op(now) {
                self.proposer.push(op);
                self.events.counters.ops_handed_over += 1;
                any = true;
            }
            return any;
        }
        let Some(link) = self.links[primary.index()].clone() else { return false };
        let mut frame = Vec::new();
        let mut count = 0;
        while let Some(op) = self.clients.next_op(now) {
            frame.extend_from_slice(op);
            self.events.counters.ops_handed_over += 1;
            count += 1;
            if frame.len() > FRAME_BYTES || count == ENTRY_OPS_MAX {
                link.put(FrameKind::Ops, &[&frame]);
                frame.clear();
                count = 0;
            }
        }
        if count > 0 {
            link.put(FrameKind::Ops, &[&frame]);
        }
        false
    }

    /// The server has said something.
    pub(super) fn on_output(&mut self, record: &RingRecord<'_>) {
        let [number, generation, total] = record.numbers;
        match record.kind {
            output::LISTEN => return self.on_listen(number),
            output::UNLISTEN => return self.on_unlisten(number),
            output::NOTE => return self.on_note(number, &String::from_utf8_lossy(record.bytes)),
            _ => {}
        }
        if generation != self.clients.generation().0 {
            return;
        }
        let Some(conn) = self.clients.conns.get(&number) else { return };
        match record.kind {
            output::DATA => {
                if conn.append(record.bytes) {
                    let conn = conn.clone();
                    self.clients.unsent.push(conn);
                }
            }
            output::FIN => conn.shut(),
            output::CLOSE => conn.close(),
            output::RESET => conn.reset(),
            output::CONSUMED => conn.consumed(total),
            other => debug!("the server says something unknown: {other}"),
        }
    }

    fn on_note(&mut self, level: u64, text: &str) {
        match level {
            0 => {
                error!("server: {text}");
                self.last_error = Some(text.to_string());
            }
            1 => self.warn_operator(format!("server: {text}")),
            _ => info!("server: {text}"),
        }
    }

    fn on_listen(&mut self, port: u64) {
        let Ok(port) = u16::try_from(port) else { return };
        let known = self.clients.ports.entry(port).or_default();
        known.sockets += 1;
        if known.sockets == 1 {
            info!("the server listens at port {port}");
            if self.clients.open {
                self.open_port(port);
            }
        }
    }

    fn on_unlisten(&mut self, port: u64) {
        let Ok(port) = u16::try_from(port) else { return };
        let Some(known) = self.clients.ports.get_mut(&port) else { return };
        known.sockets -= 1;
        if known.sockets == 0 {
            info!("the server listens no more at port {port}");
            self.clients.ports.remove(&port);
        }
    }

    fn open_port(&mut self, port: u16) {
        let address = SocketAddr::new(self.settings.address, port);
        match proxy::listen(address, &self.client_events) {
            Ok(listener) => {
                debug!("clients may connect to {}", listener.address);
                let known = self.clients.ports.entry(port).or_default();
                known.listener = Some(listener);
            }
            Err(error) => self.fail(format!(
                "{address}, where the server listens, cannot be opened: {error}; stop what uses \
                 it, or give the server another port"
            )),
        }
    }

    /// Lets clients in once the server has come as far as the group had when this replica joined
    /// it.
    pub(super) fn consider_clients(&mut self, admitted: Slot) {
        if self.clients.open || self.node.primary().is_none() {
            return;
        }
        let target = *self.clients.open_at.get_or_insert(self.committed);
        if admitted < target {
            return;
        }
        self.clients.open = true;
        let ports: Vec<u16> = self.clients.ports.keys().copied().collect();
        for port in ports {
            self.open_port(port);
        }
    }
}
