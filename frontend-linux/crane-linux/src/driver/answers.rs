//! The replica's state, as `status` shows it.

use std::sync::atomic::Ordering;

use crane_core::id::NodeId;
use crane_core::paxos::{ChangeError, Effects, Role};
use serde_json::{Value, json};

use crate::net::query::Query;
use crate::options::ServerFsync;

use super::Driver;

impl Driver {
    /// The answer to a question, as JSON.
    pub(super) fn answer(&mut self, query: Query) -> Vec<u8> {
        let value = match query {
            Query::Status { hash_slot } => json!({
                "group": self.meta.group,
                "members": self.settings.members,
                "replica": self.state(hash_slot),
            }),
            Query::Move { to } => match self.move_role(to) {
                Ok(()) => json!({}),
                Err(why) => json!({ "error": why }),
            },
        };
        value.to_string().into_bytes()
    }

    fn move_role(&mut self, to: u8) -> Result<(), &'static str> {
        let to = NodeId::new(to).ok_or("no group has a member of that number")?;
        let mut out = Effects::new();
        let asked = self.node.hand_over(self.clock.now(), to, &mut out);
        self.carry_out(&out, None);
        asked.map_err(|error| match error {
            ChangeError::NotPrimary { .. } => "this replica is not the primary",
            ChangeError::Busy => "the primary is busy with another change; ask again",
            ChangeError::Unsound => "it is the primary already, or may not be",
            ChangeError::NotReady => "it is out of reach, or lacks a part of the log",
        })
    }

    fn state(&self, hash_slot: u64) -> Value {
        let region = self.server.region();
        let number = |read: fn(&crane_shm::Region) -> u64| region.map(read);
        let mark = self.server.mark(hash_slot);
        let entries = number(|region| {
            let entries = region.entries.load(Ordering::SeqCst);
            entries.saturating_add(region.bubbles.load(Ordering::SeqCst))
        });
        json!({
            "id": self.me().number(),
            "address": self.settings.members[self.me().index()],
            "role": match self.role {
                Role::Primary => "primary",
                Role::Backup { .. } => "backup",
                Role::Candidate => "candidate",
                Role::Recovering { .. } => "recovering",
            },
            "ballot": self.node.ballot().to_string(),
            "durable": self.node.durable().0,
            "committed": self.committed.0,
            "admitted": number(|region| region.admitted.load(Ordering::SeqCst)).unwrap_or(0),
            "clock": number(|region| region.clock.load(Ordering::SeqCst)).unwrap_or(0),
            "schedule_hash": mark.map(|mark| format!("{:016x}", mark.schedule)),
            "output_hash": mark.map(|mark| format!("{:016x}", mark.output)),
            "hash_slot": mark.map(|mark| mark.slot),
            "entries": entries.unwrap_or(0),
            "bubbles": number(|region| region.bubbles.load(Ordering::SeqCst)).unwrap_or(0),
            "connections": self.server.connections(),
            "daemon_pid": std::process::id(),
            "server_pid": self.server.process(),
            "cell": self.server.cell(),
            "server_fsync": match self.settings.args.server_fsync {
                ServerFsync::Keep => "keep",
                ServerFsync::Skip => "skip",
            },
            "uncovered_calls":
                number(|region| region.uncovered_calls.load(Ordering::SeqCst)).unwrap_or(0),
            "last_error": self.last_error,
        })
    }
}
