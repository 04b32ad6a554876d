//! The replica's state, as `status` shows it.

use serde_json::{Value, json};

use crate::event::Counters;
use crate::net::query::Query;
use crate::options::ServerFsync;

use super::agreement::name_of;
use super::members::outcome;
use super::{Driver, Host, HostFacts, Moment, ServerView};

/// How many days before the keys expire there is a note.
const KEYS_SPARE_DAYS: u64 = 30;

impl<H: Host> Driver<H> {
    /// Returns the answer to a question, as JSON.
    pub(crate) fn answer(&mut self, moment: Moment, query: Query, facts: &HostFacts) -> Vec<u8> {
        self.moment = moment;
        let value = match query {
            Query::Status { .. } => {
                let roster = self.roster();
                json!({
                    "group": self.meta.group,
                    "founders": self.settings.founders,
                    "roster": roster,
                    "as_of": roster.as_of,
                    "members": self.list_members(),
                    "keys": facts.keys,
                    "replica": self.state(facts),
                })
            }
            Query::Move { to } => outcome(self.order_move(to)),
            Query::Add { address, witness } => outcome(self.order_add(&address, witness)),
            Query::Promote { node } => outcome(self.order_promote(node)),
            Query::Restart => outcome(self.order_restart()),
            Query::Signal { number } => outcome(self.order_signal(number)),
            Query::Look { command } => outcome(self.order_look(command)),
            Query::Seen => self.show_seen_program(),
            Query::Upgrade { command, base } => outcome(self.order_upgrade(&command, base)),
            Query::Checkpoint => outcome(self.order_checkpoint()),
            Query::Remove { node, lost } => outcome(self.order_remove(node, lost)),
        };
        value.to_string().into_bytes()
    }

    fn state(&self, facts: &HostFacts) -> Value {
        let view = self.server.view();
        let number = |read: fn(&ServerView) -> u64| view.map_or(0, read);
        let mark = facts.mark;
        let behind =
            self.behind_since.map_or(0, |since| self.now().since(since).as_micros() / 1000);
        let notes: Vec<String> = self
            .watch
            .texts(false)
            .into_iter()
            .map(str::to_string)
            .chain(note_on_keys(facts))
            .collect();
        let counters = Counters { frames_dropped: facts.frames_dropped, ..self.events.counters };
        json!({
            "id": self.me().number(),
            "address": self.settings.name,
            "role": name_of(self.role),
            "ballot": self.node.ballot().to_string(),
            "durable": self.node.durable().0,
            "committed": self.committed.0,
            "admitted": number(|view| view.admitted),
            "clock": number(|view| view.clock),
            "schedule_hash": mark.map(|mark| format!("{:016x}", mark.schedule)),
            "output_hash": mark.map(|mark| format!("{:016x}", mark.output)),
            "hash_slot": mark.map(|mark| mark.slot),
            "entries": number(|view| view.entries.saturating_add(view.bubbles)),
            "bubbles": number(|view| view.bubbles),
            "incarnation": self.shown_incarnation(),
            "takes_clients": self.clients.open && !self.clients.ports.is_empty(),
            "connections": self.server.connections(),
            "daemon_pid": facts.daemon_pid,
            "server_pid": facts.server_pid,
            "cell": self.server.cell,
            "checkpoint": self.show_checkpoint(),
            "log": { "behind": self.log.front().0, "bytes": self.log.bytes() },
            "server_fsync": match self.settings.args.server_fsync {
                ServerFsync::Keep => "keep",
                ServerFsync::Skip => "skip",
            },
            "uncovered_calls":
                number(|view| view.uncovered_calls),
            "caught_calls":
                number(|view| view.caught_calls),
            "caught": facts.caught,
            "refused_connections":
                number(|view| view.refused_connections),
            "last_error": self.last_error,
            "clocks": self.show_clocks(),
            "behind_ms": behind,
            "faults": self.watch.texts(true),
            "notes": notes,
            "authenticated": facts.keys.is_some(),
            "counters": counters,
            "strangers": facts.strangers,
            "events": self.events.kept().collect::<Vec<_>>(),
        })
    }
}

/// Returns a note on the keys by which replicas know each other, if they need attention.
fn note_on_keys(facts: &HostFacts) -> Option<String> {
    match (&facts.keys, facts.keys_days) {
        (None, _) => Some(
            "replicas do not know each other (--insecure-peers): any program that reaches this \
             one's port can act as a replica, and give orders; see crane-linux keys --help"
                .to_string(),
        ),
        (Some(path), None) => Some(format!(
            "the keys in {path} are not valid now; make new ones with crane-linux keys rotate"
        )),
        (Some(path), Some(days @ 0..KEYS_SPARE_DAYS)) => Some(format!(
            "the keys in {path} expire in {days} days; make new ones with crane-linux keys rotate"
        )),
        (Some(_), Some(_)) => None,
    }
}
