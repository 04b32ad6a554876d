//! The verdict on a group, as a text for people.

use serde_json::Value;

/// The time, in milliseconds, for which a server may lack a part of the log before that is a fault.
const BEHIND_MAX: u64 = 30_000;

/// The verdict of `status` on a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GroupVerdict {
    /// The verdict as a text.
    pub words: String,
    /// Whether an operator must act.
    pub is_fault: bool,
}

impl GroupVerdict {
    /// Returns the verdict on a state as `status --json` shows it.
    pub(crate) fn of(state: &Value) -> Self {
        let replicas = state.get("replicas").and_then(Value::as_array).map_or(&[][..], |all| all);
        let fault = |words: String| Self { words: format!("FAULT: {words}"), is_fault: true };
        let ids = |chosen: &dyn Fn(&Value) -> bool| -> Vec<String> {
            let chosen = replicas.iter().filter(|replica| chosen(replica));
            chosen.map(|replica| replica["id"].to_string()).collect()
        };
        let faulty =
            ids(&|replica| replica["faults"].as_array().is_some_and(|all| !all.is_empty()));
        if !faulty.is_empty() {
            return fault(format!("of the server on {}, see below", replicas_of(&faulty)));
        }
        if let Some(difference) = difference(replicas) {
            return fault(difference);
        }
        let behind =
            ids(&|replica| replica["behind_ms"].as_u64().is_some_and(|time| time > BEHIND_MAX));
        if !behind.is_empty() {
            return fault(format!(
                "the server on {} is behind for more than 30 s",
                replicas_of(&behind)
            ));
        }
        if replicas.iter().all(|replica| replica["role"] != "primary") {
            return fault("no primary is known: clients wait".into());
        }
        if replicas.iter().any(runs_server) && !replicas.iter().any(takes_clients) {
            let words = "starting: no replica takes clients yet".to_string();
            return Self { words, is_fault: false };
        }
        let down = ids(&|replica| replica["role"] == "down");
        let up = replicas.len() - down.len();
        let coming: Vec<String> = replicas.iter().filter_map(return_of).collect();
        let words = match (down.is_empty(), coming.is_empty()) {
            (true, true) => format!("healthy: {up} of {up} replicas"),
            (false, _) => {
                format!("degraded: no answer of {}; the others serve", replicas_of(&down))
            }
            (true, false) => format!("degraded: {}; the others serve", coming.join(", ")),
        };
        Self { words, is_fault: false }
    }
}

/// Describes the way of a replica that returns, if it does.
fn return_of(replica: &Value) -> Option<String> {
    let id = &replica["id"];
    let percent = &replica["checkpoint"]["arriving"]["percent"];
    if percent.is_u64() {
        return Some(format!("replica {id} receives a checkpoint ({percent} %)"));
    }
    if replica["role"] == "recovering" {
        return Some(format!("replica {id} is recovering its log"));
    }
    let refuses = runs_server(replica) && !takes_clients(replica);
    refuses.then(|| format!("the server of replica {id} catches up, and takes no clients yet"))
}

fn runs_server(replica: &Value) -> bool {
    replica["takes_clients"].is_boolean() && replica["member"] != "witness"
}

fn takes_clients(replica: &Value) -> bool {
    replica["takes_clients"] == true
}

/// Describes the hashes that differ at the same slot, if any do.
fn difference(replicas: &[Value]) -> Option<String> {
    let compared: Vec<&Value> =
        replicas.iter().filter(|replica| replica["hash_slot"].is_u64()).collect();
    let first = compared.first()?;
    for (name, what) in [("schedule_hash", "calls"), ("output_hash", "output")] {
        let other = compared.iter().find(|replica| {
            replica["hash_slot"] == first["hash_slot"] && replica[name] != first[name]
        });
        if let Some(other) = other {
            return Some(format!(
                "the servers of replicas {} and {} differ in their {what} up to slot {}",
                first["id"], other["id"], first["hash_slot"]
            ));
        }
    }
    None
}

fn replicas_of(ids: &[String]) -> String {
    format!("replica{} {}", if ids.len() > 1 { "s" } else { "" }, ids.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group(change: impl FnOnce(&mut Value)) -> GroupVerdict {
        let replica = |id: u8, role: &str| {
            json!({ "id": id, "role": role, "hash_slot": 7, "schedule_hash": "a",
                    "output_hash": "b", "faults": [], "behind_ms": 0, "member": "voter",
                    "takes_clients": true })
        };
        let mut state = json!({ "replicas": [
            replica(1, "primary"), replica(2, "backup"), replica(3, "backup"),
        ]});
        change(&mut state["replicas"]);
        GroupVerdict::of(&state)
    }

    #[test]
    fn a_group_in_step_is_healthy() {
        let verdict = group(|_| {});
        assert_eq!(verdict.words, "healthy: 3 of 3 replicas");
        assert!(!verdict.is_fault);
    }

    #[test]
    fn a_replica_that_is_down_degrades_and_is_no_fault() {
        let verdict = group(|replicas| replicas[2] = json!({ "id": 3, "role": "down" }));
        assert_eq!(verdict.words, "degraded: no answer of replica 3; the others serve");
        assert!(!verdict.is_fault);
    }

    #[test]
    fn a_replica_that_returns_degrades_with_its_phase() {
        let verdict = group(|replicas| replicas[1]["role"] = json!("recovering"));
        assert_eq!(verdict.words, "degraded: replica 2 is recovering its log; the others serve");
        assert!(!verdict.is_fault);
        let verdict = group(|replicas| {
            replicas[1]["role"] = json!("recovering");
            replicas[1]["checkpoint"] = json!({ "arriving": { "percent": 40 } });
        });
        let words = "degraded: replica 2 receives a checkpoint (40 %); the others serve";
        assert_eq!(verdict.words, words);
    }

    #[test]
    fn a_server_that_takes_no_clients_is_not_healthy() {
        let verdict = group(|replicas| replicas[1]["takes_clients"] = json!(false));
        let words = "degraded: the server of replica 2 catches up, and takes no clients yet; the \
                     others serve";
        assert_eq!(verdict.words, words);
        let none = |replicas: &mut Value| {
            for id in 0..3 {
                replicas[id]["takes_clients"] = json!(false);
            }
        };
        assert_eq!(group(none).words, "starting: no replica takes clients yet");
        let verdict = group(|replicas| {
            replicas[2]["member"] = json!("witness");
            replicas[2]["takes_clients"] = json!(false);
        });
        assert_eq!(verdict.words, "healthy: 3 of 3 replicas");
    }

    #[test]
    fn what_needs_somebody_is_a_fault() {
        let verdicts = [
            group(|replicas| replicas[1]["faults"] = json!(["it hangs"])),
            group(|replicas| replicas[1]["schedule_hash"] = json!("x")),
            group(|replicas| replicas[2]["output_hash"] = json!("x")),
            group(|replicas| replicas[1]["behind_ms"] = json!(40_000)),
            group(|replicas| replicas[0]["role"] = json!("candidate")),
        ];
        let words = ["on replica 2", "their calls", "their output", "is behind", "no primary"];
        for (verdict, words) in verdicts.iter().zip(words) {
            assert!(verdict.is_fault && verdict.words.contains(words), "{}", verdict.words);
        }
    }

    #[test]
    fn servers_at_different_slots_are_not_compared() {
        let verdict = group(|replicas| {
            replicas[1]["hash_slot"] = json!(9);
            replicas[1]["schedule_hash"] = json!("x");
        });
        assert!(!verdict.is_fault, "{}", verdict.words);
    }
}
