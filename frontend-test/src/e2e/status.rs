//! The output of `crane-linux status --json`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// The words of a verdict on servers, which has marks of several. Other errors say that replicas
/// may come to differ.
const REPORTS: [&str; 3] =
    ["differs from the majority", "the servers of replicas", "behaves differently"];

/// The state of a group, of every replica that could be reached.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The group's identity; null before slot 1 is committed.
    pub group: Value,
    /// The replicas, one for each member, even for one that could not be reached (role `down`).
    pub replicas: Vec<ReplicaStatus>,
}

/// The state of one replica. A value that is not known (of a replica that is down, or of a server
/// that has not started) is `None` or null.
#[derive(Clone, Debug, Deserialize)]
pub struct ReplicaStatus {
    /// The replica's number, from 1 to 7.
    pub id: u8,
    /// The peers' address of this replica.
    pub address: String,
    /// The kind of member: `voter`, `learner`, `witness`, or `joining`.
    #[serde(default)]
    pub member: String,
    /// The role: `primary`, `backup`, `candidate`, `recovering` or `down`.
    pub role: String,
    /// The highest ballot that the replica has promised.
    #[serde(default)]
    pub ballot: Value,
    /// The highest slot that survives a crash here.
    #[serde(default)]
    pub durable: Option<u64>,
    /// The highest slot that is known here to be committed.
    #[serde(default)]
    pub committed: Option<u64>,
    /// The highest slot that the server here has been given.
    #[serde(default)]
    pub admitted: Option<u64>,
    /// The logical clock.
    #[serde(default)]
    pub clock: Option<u64>,
    /// The hash of the schedule at the admission of `hash_slot`.
    #[serde(default)]
    pub schedule_hash: Value,
    /// The hash of the bytes written per connection at the admission of `hash_slot`.
    #[serde(default)]
    pub output_hash: Value,
    /// The slot at which the two hashes were taken.
    #[serde(default)]
    pub hash_slot: Option<u64>,
    /// The number of entries in the log, including bubbles.
    #[serde(default)]
    pub entries: Option<u64>,
    /// The number of entries without ops.
    #[serde(default)]
    pub bubbles: Option<u64>,
    /// The server's incarnation.
    #[serde(default)]
    pub incarnation: Option<u64>,
    /// Whether clients can connect here.
    #[serde(default)]
    pub takes_clients: bool,
    /// The number of open connections of the service.
    #[serde(default)]
    pub connections: Option<u64>,
    /// The daemon's pid.
    #[serde(default)]
    pub daemon_pid: Option<u32>,
    /// The state of checkpoints.
    #[serde(default)]
    pub checkpoint: Value,
    /// The log's front and size.
    #[serde(default)]
    pub log: Value,
    /// The server's pid.
    #[serde(default)]
    pub server_pid: Option<u32>,
    /// The kind of the server's cell: `overlay` or `copy`.
    #[serde(default)]
    pub cell: Value,
    /// Whether the server's own fsync is real.
    #[serde(default)]
    pub server_fsync: Value,
    /// The number of calls that the preload library saw and could not make deterministic.
    #[serde(default)]
    pub uncovered_calls: Value,
    /// The number of calls that the net below the hooks caught.
    #[serde(default)]
    pub caught_calls: u64,
    /// Those of them that were most frequent.
    #[serde(default)]
    pub caught: Vec<Caught>,
    /// Connections that the server's tables refused.
    #[serde(default)]
    pub refused_connections: Option<u64>,
    /// The last error.
    #[serde(default)]
    pub last_error: Value,
    /// Faults that keep the server from working.
    #[serde(default)]
    pub faults: Vec<String>,
    /// The findings that are notes.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The counts of events since the daemon's start.
    #[serde(default)]
    pub counters: Value,
    /// Counts of strangers at the replica's port and control socket.
    #[serde(default)]
    pub strangers: Value,
    /// The last events.
    #[serde(default)]
    pub events: Vec<Value>,
}

/// Calls of one kind that the net has caught.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Caught {
    /// The call's name.
    pub call: String,
    /// The symbol and the library of the place that makes it.
    pub place: Option<String>,
    /// How many there were.
    pub calls: u64,
}

impl Status {
    /// Parses the command's output.
    ///
    /// # Errors
    ///
    /// Returns the fault in the output, with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("status: {error} in {text:?}"))
    }

    /// Returns the replica with this number.
    ///
    /// # Panics
    ///
    /// Panics if the status does not list it: every member is listed, also one that is down.
    #[must_use]
    pub fn replica(&self, id: u8) -> &ReplicaStatus {
        self.replicas
            .iter()
            .find(|replica| replica.id == id)
            .unwrap_or_else(|| panic!("no replica {id} in {self:?}"))
    }

    /// Returns the only primary.
    ///
    /// # Errors
    ///
    /// Returns an error if no primary exists, or two exist (an old one that has not heard
    /// yet: ask again).
    pub fn primary(&self) -> Result<u8, String> {
        let found: Vec<u8> =
            self.replicas.iter().filter(|r| r.role == "primary").map(|r| r.id).collect();
        match found[..] {
            [id] => Ok(id),
            _ => Err(format!("primaries {found:?}: {}", self.brief())),
        }
    }

    /// Checks that all `count` replicas answer, one is primary and the others are backups.
    ///
    /// # Errors
    ///
    /// Returns the condition that does not hold.
    pub fn healthy(&self, count: usize) -> Result<(), String> {
        self.primary()?;
        let backups = self.replicas.iter().filter(|r| r.role == "backup").count();
        if self.replicas.len() == count && backups == count - 1 {
            Ok(())
        } else {
            Err(format!("not {count} in good health: {}", self.brief()))
        }
    }

    /// Returns the replicas that run a server.
    pub fn servers(&self) -> impl Iterator<Item = &ReplicaStatus> + Clone {
        self.replicas.iter().filter(|replica| replica.member != "witness")
    }

    /// Returns the highest slot that any replica knows to be committed, which all must reach after
    /// a load.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.replicas.iter().filter_map(|r| r.committed).max().unwrap_or(0)
    }

    /// Checks that all replicas are in good health, have admitted slot `floor`, and have equal
    /// hashes at one slot from there on. Returns that slot.
    ///
    /// # Errors
    ///
    /// Returns the condition that does not hold.
    pub fn settled(&self, count: usize, floor: u64) -> Result<u64, String> {
        self.healthy(count)?;
        let mut servers = self.servers();
        let slot = servers.clone().find_map(|replica| replica.hash_slot);
        let slot = slot.ok_or_else(|| "no hashes yet".to_owned())?;
        let together =
            servers.all(|r| r.hash_slot == Some(slot) && r.admitted.is_some_and(|a| a >= floor));
        if slot == 0 || slot < floor || !together {
            return Err(format!("not all at one slot from {floor} on: {}", self.brief()));
        }
        match self.diverged() {
            Some(difference) => Err(difference),
            None => Ok(slot),
        }
    }

    /// Returns the hashes that differ at the same slot, if any do.
    #[must_use]
    pub fn diverged(&self) -> Option<String> {
        let up: Vec<&ReplicaStatus> =
            self.servers().filter(|replica| replica.hash_slot.is_some()).collect();
        let slots: BTreeSet<Option<u64>> = up.iter().map(|r| r.hash_slot).collect();
        if slots.len() != 1 {
            return None;
        }
        let differs = |of: fn(&ReplicaStatus) -> &Value| {
            up.iter().any(|r| of(r) != of(up[0]) || of(r).is_null())
        };
        let schedule = differs(|r| &r.schedule_hash);
        let output = differs(|r| &r.output_hash);
        (schedule || output).then(|| {
            format!("hashes differ (schedule {schedule}, output {output}): {}", self.brief())
        })
    }

    /// Returns how the servers differ: by their hashes, or as a replica has reported it. The group
    /// may have halted since, and its servers are gone.
    #[must_use]
    pub fn difference(&self) -> Option<String> {
        let mut errors = self.replicas.iter().filter_map(|replica| replica.last_error.as_str());
        let reports = |text: &&str| REPORTS.iter().any(|part| text.contains(part));
        self.diverged().or_else(|| errors.find(reports).map(str::to_owned))
    }

    /// Returns a line for messages.
    #[must_use]
    pub fn brief(&self) -> String {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
        let lines: Vec<String> = self
            .replicas
            .iter()
            .map(|r| {
                format!(
                    "{} {} ballot {} committed {} admitted {} hashes {} {} at {} connections {} \
                     error {}",
                    r.id,
                    r.role,
                    r.ballot,
                    number(r.committed),
                    number(r.admitted),
                    r.schedule_hash,
                    r.output_hash,
                    number(r.hash_slot),
                    number(r.connections),
                    r.last_error
                )
            })
            .collect();
        lines.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(hash: &str) -> String {
        let replica = |id: u8, role: &str, hash: &str| {
            format!(
                r#"{{"id":{id},"address":"127.0.0.{id}:6790","role":"{role}","ballot":"1.1",
                "durable":9,"committed":9,"admitted":9,"clock":70,"schedule_hash":"{hash}",
                "output_hash":"aa","hash_slot":9,"entries":9,"bubbles":2,"connections":0,
                "daemon_pid":10,"server_pid":11,"cell":"overlay","server_fsync":"skip",
                "uncovered_calls":0,"last_error":null}}"#
            )
        };
        format!(
            r#"{{"group":"g","replicas":[{},{},{}]}}"#,
            replica(1, "primary", "77"),
            replica(2, "backup", "77"),
            replica(3, "backup", hash)
        )
    }

    #[test]
    fn equal_hashes_settle() {
        let status = Status::parse(&text("77")).unwrap();
        assert_eq!(status.settled(3, 9), Ok(9));
        assert_eq!(status.primary(), Ok(1));
    }

    #[test]
    fn a_slot_below_the_floor_is_too_early() {
        assert!(Status::parse(&text("77")).unwrap().settled(3, 10).is_err());
    }

    #[test]
    fn a_different_hash_is_noticed() {
        let status = Status::parse(&text("78")).unwrap();
        assert!(status.diverged().is_some_and(|text| text.contains("schedule true")));
        assert!(status.settled(3, 9).is_err());
    }

    #[test]
    fn a_hash_that_is_missing_is_not_an_equal_hash() {
        let text = text("77").replace("\"schedule_hash\":\"77\"", "\"schedule_hash\":null");
        assert!(Status::parse(&text).unwrap().settled(3, 9).is_err());
    }

    #[test]
    fn a_replica_that_is_down_is_not_healthy() {
        let text = r#"{"group":null,"replicas":[{"id":1,"address":"a","role":"primary"},
            {"id":2,"address":"b","role":"down"}]}"#;
        let status = Status::parse(text).unwrap();
        assert!(status.healthy(2).is_err());
        assert!(status.settled(2, 1).is_err());
    }
}
