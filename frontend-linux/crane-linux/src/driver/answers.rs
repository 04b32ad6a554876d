//! The replica's state, as `status` shows it.

use serde_json::{Value, json};

use crate::event::Counters;
use crate::net::query::Query;
use crate::options::ServerFsync;

use super::Driver;
use super::agreement::name_of;
use super::members::outcome;

impl Driver {
    /// The answer to a question, as JSON.
    pub(super) fn answer(&mut self, query: Query) -> Vec<u8> {
        let value = match query {
            Query::Status { hash_slot } => {
                let roster = self.roster();
                json!({
                    "group": self.meta.group,
                    "founders": self.settings.founders,
                    "roster": roster,
                    "as_of": roster.as_of,
                    "members": self.list_members(),
                    "replica": self.state(hash_slot),
                })
            }
            Query::Move { to } => outcome(self.order_move(to)),
            Query::Add { address, witness } => outcome(self.order_add(&address, witness)),
            Query::Promote { node } => outcome(self.order_promote(node)),
            Query::Remove { node } => outcome(self.order_remove(node)),
        };
        value.to_string().into_bytes()
    }

    fn counters(&self) -> Counters {
        Counters { frames_dropped: self.peers.frames_dropped.get(), ..self.events.counters }
    }

    fn state(&self, hash_slot: u64) -> Value {
        let region = self.server.region();
        let number = |read: fn(crane_shm::DaemonSide) -> u64| region.map(read);
        let mark = self.server.mark(hash_slot);
        let entries = number(|region| region.entries().saturating_add(region.bubbles()));
        json!({
            "id": self.me().number(),
            "address": self.settings.name,
            "role": name_of(self.role),
            "ballot": self.node.ballot().to_string(),
            "durable": self.node.durable().0,
            "committed": self.committed.0,
            "admitted": number(|region| region.admitted()).unwrap_or(0),
            "clock": number(|region| region.clock()).unwrap_or(0),
            "schedule_hash": mark.map(|mark| format!("{:016x}", mark.schedule)),
            "output_hash": mark.map(|mark| format!("{:016x}", mark.output)),
            "hash_slot": mark.map(|mark| mark.slot),
            "entries": entries.unwrap_or(0),
            "bubbles": number(|region| region.bubbles()).unwrap_or(0),
            "connections": self.server.connections(),
            "daemon_pid": std::process::id(),
            "server_pid": self.server.process(),
            "cell": self.server.cell(),
            "server_fsync": match self.settings.args.server_fsync {
                ServerFsync::Keep => "keep",
                ServerFsync::Skip => "skip",
            },
            "uncovered_calls":
                number(|region| region.uncovered_calls()).unwrap_or(0),
            "last_error": self.last_error,
            "counters": self.counters(),
            "events": self.events.kept().collect::<Vec<_>>(),
        })
    }
}
