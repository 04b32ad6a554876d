//! The rules for the logs that real replicas leave behind, as `crane-linux log show` prints them.
//!
//! A log has the records that one node wrote, in their order, and no message that it received. So
//! this module checks the rules for one node's records, and for all nodes' records together.

use std::collections::HashMap;

use crane_core::id::NodeId;

use super::{Verdict, breaks, rule};

/// A ballot, printed as `round.node`.
type Ballot = (u64, u64);

/// One record of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// The highest promised ballot.
    Promise(Ballot),
    /// The name of the node's voting status, and its epoch.
    VotingStatus(String, Option<u64>),
    /// The ballot under which the log is accepted, and the slot at which it ends.
    Adopt(Ballot, u64),
    /// An entry's slot, its ballot, its timestamp if it has one, and its content as printed.
    Accept(u64, Ballot, Option<u64>, String),
    /// The slot up to which all are committed.
    Committed(u64),
}

/// Parses the output of `crane-linux log show`, including its last line, the sum.
///
/// # Errors
///
/// Returns the first line that is not a record.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let is_record =
        |line: &&str| !line.contains(" records are whole") && !line.ends_with(" closed");
    let records = text.lines().filter(is_record);
    records.map(|line| parse_line(line).ok_or_else(|| line.to_owned())).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let (_, record) = line.split_once(' ')?;
    let record = record.trim_start();
    let (kind, rest) = record.split_once(' ')?;
    Some(match kind {
        "promise" => Line::Promise(ballot(rest)?),
        "voting" => {
            let name = rest.split_whitespace().next()?.to_owned();
            let epoch =
                rest.split_once("StorageEpoch(").and_then(|(_, epoch)| epoch.split(')').next());
            Line::VotingStatus(name, epoch.and_then(|epoch| epoch.parse().ok()))
        }
        "adopt" => {
            let (of, rest) = rest.split_once(": the log ends at slot ")?;
            Line::Adopt(ballot(of)?, rest.parse().ok()?)
        }
        "slot" => {
            let (slot, rest) = rest.split_once(" under ")?;
            let (of, content) = rest.split_once(": ")?;
            let timestamp =
                content.strip_prefix("timestamp ").and_then(|rest| rest.split(' ').next());
            let timestamp = timestamp.and_then(|timestamp| timestamp.parse().ok());
            Line::Accept(slot.parse().ok()?, ballot(of)?, timestamp, content.to_owned())
        }
        "committed" => Line::Committed(rest.strip_prefix("up to ")?.parse().ok()?),
        _ => return None,
    })
}

fn ballot(text: &str) -> Option<Ballot> {
    let (round, node) = text.split_once('.')?;
    Some((round.parse().ok()?, node.parse().ok()?))
}

/// The records of all logs that were followed so far.
#[derive(Default)]
struct Logs {
    /// The content for each slot and ballot, and the ballot of the entry before.
    proposed: HashMap<(u64, Ballot), (String, Ballot)>,
    /// The ballot, the timestamp and the content of each slot that some node knew to be committed.
    committed: HashMap<u64, (Ballot, Option<u64>, String)>,
}

/// Checks that the logs of a group's nodes, from their first record on, keep the rules.
///
/// # Errors
///
/// Returns the rule's name, and the action that breaks it.
pub fn validate_logs(logs: &[(NodeId, Vec<Line>)]) -> Result<(), (&'static str, String)> {
    let mut all = Logs::default();
    for (node, lines) in logs {
        all.follow(lines).map_err(|(rule, what)| (rule, format!("{node}: {what}")))?;
    }
    all.timestamps_grow()
}

impl Logs {
    // specs: P2, P4, P5, P10, P11, R2, R3
    fn follow(&mut self, lines: &[Line]) -> Verdict {
        let mut promised = (0, 0);
        let mut voting = "Blank".to_owned();
        let mut log: Vec<(Ballot, Option<u64>, String)> = Vec::new();
        let mut committed = 0;
        for line in lines {
            match line {
                Line::Promise(ballot) => {
                    rule("P2", *ballot > promised, || {
                        format!("promises {ballot:?} after {promised:?}")
                    })?;
                    promised = *ballot;
                }
                Line::VotingStatus(next, epoch) => {
                    let first = *epoch == Some(0);
                    let known = match (voting.as_str(), next.as_str()) {
                        ("Blank", "Ready") => true,
                        ("Blank" | "Voter", "Rejoining") => !first,
                        ("Ready", "Voter") => first,
                        ("Rejoining", "Voter") => !first,
                        _ => false,
                    };
                    let name = if next == "Voter" { "R2" } else { "R3" };
                    rule(name, known, || format!("becomes {next} {epoch:?} from {voting}"))?;
                    voting.clone_from(next);
                }
                Line::Adopt(ballot, up_to) => {
                    rule("P2", *ballot >= promised, || format!("adopts the log of {ballot:?}"))?;
                    rule("P11", *up_to >= committed, || format!("cuts its log at {up_to}"))?;
                    rule("P4", *up_to <= log.len() as u64, || format!("adopts a gap, {up_to}"))?;
                    log.truncate(*up_to as usize);
                }
                Line::Accept(slot, ballot, timestamp, content) => {
                    rule("P2", *ballot <= promised, || format!("accepts {ballot:?} unpromised"))?;
                    rule("P11", *slot > committed, || format!("replaces slot {slot}"))?;
                    let place = (*slot as usize).wrapping_sub(1);
                    rule("P4", place <= log.len(), || format!("leaves a gap before {slot}"))?;
                    log.truncate(place);
                    let before = log.last().map_or((0, 0), |(before, ..)| *before);
                    let key = (*slot, *ballot);
                    let known =
                        self.proposed.entry(key).or_insert_with(|| (content.clone(), before));
                    rule("P5", known.0 == *content, || {
                        format!("slot {slot} of {ballot:?} is {content}, and {}", known.0)
                    })?;
                    rule("P4", known.1 == before, || {
                        format!("slot {slot} of {ballot:?} follows {before:?} and {:?}", known.1)
                    })?;
                    log.push((*ballot, *timestamp, content.clone()));
                }
                Line::Committed(up_to) if *up_to <= committed => {}
                Line::Committed(up_to) => {
                    let Some(entries) = log.get(committed as usize..*up_to as usize) else {
                        return breaks("P10", format!("commits {up_to} of {}", log.len()));
                    };
                    for (slot, entry) in (committed + 1..).zip(entries) {
                        let known = self.committed.entry(slot).or_insert_with(|| entry.clone());
                        rule("P10", known == entry, || format!("commits another slot {slot}"))?;
                    }
                    committed = *up_to;
                }
            }
        }
        Ok(())
    }

    // specs: S9
    fn timestamps_grow(&self) -> Verdict {
        let mut slots: Vec<_> = self.committed.iter().collect();
        slots.sort();
        let mut last = 0;
        for (slot, (_, timestamp, _)) in slots {
            if let Some(timestamp) = timestamp {
                rule("S9", *timestamp > last, || {
                    format!("has timestamp {timestamp} in slot {slot} after {last}")
                })?;
                last = *timestamp;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\
00000000:16         voting Ready
00000000:50         voting Voter { epoch: StorageEpoch(0) }
00000000:90         promise 1.2
00000000:120        slot 1 under 1.2: genesis of group 07, members a,b,c, quantum 100
00000000:160        adopt 1.2: the log ends at slot 1
00000000:200        slot 2 under 1.2: timestamp 10 grant 1000, connect 1.5.1 to 80
00000000:240        slot 3 under 1.2: timestamp 11 grant 1000
00000000:280        committed up to 2
00000000:300        promise 2.1
00000000:330        slot 3 under 2.1: timestamp 12 grant 1000
00000000:370        adopt 2.1: the log ends at slot 3
00000000:400        committed up to 3
12 records are whole; 0 torn bytes at the end
";

    fn verdict(texts: &[&str]) -> Result<(), &'static str> {
        let ids = (1..).filter_map(NodeId::new);
        let logs: Vec<_> = ids.zip(texts.iter().map(|text| parse(text).unwrap())).collect();
        validate_logs(&logs).map_err(|(rule, _)| rule)
    }

    #[test]
    fn a_log_that_keeps_the_rules_is_accepted() {
        assert_eq!(parse(WHOLE).unwrap().len(), 12);
        assert_eq!(verdict(&[WHOLE, WHOLE]), Ok(()));
        assert!(parse("00000000:16  something else").is_err());
    }

    #[test]
    fn each_rule_finds_the_log_that_breaks_it() {
        let tampered = [
            ("promise 2.1", "promise 1.1", "P2"),
            ("slot 3 under 2.1", "slot 5 under 2.1", "P4"),
            ("committed up to 2", "committed up to 4", "P10"),
            ("adopt 2.1: the log ends at slot 3", "adopt 2.1: the log ends at slot 1", "P11"),
            ("voting Ready", "voting Rejoining { epoch: StorageEpoch(9) }", "R2"),
            ("voting Ready", "voting Rejoining { epoch: StorageEpoch(0) }", "R3"),
            ("timestamp 12", "timestamp 9", "S9"),
        ];
        for (from, to, rule) in tampered {
            assert_eq!(verdict(&[&WHOLE.replace(from, to)]), Err(rule), "{from} became {to}");
        }
        let other = WHOLE.replace("connect 1.5.1", "connect 1.5.2");
        assert_eq!(verdict(&[WHOLE, &other]), Err("P5"));
    }
}
