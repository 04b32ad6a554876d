//! The rules for ballots, promises, logs, chosen entries and members.

use crane_core::id::{Generation, NodeId, Slot};
use crane_core::paxos::{
    Ballot, Content, DurableState, Entry, LogEnd, Message, NodeSet, Record, Role, StorageEpoch,
    VotingStatus,
};

use super::storage::{Storage, members_of, named_epoch};
use super::{Validator, Verdict, breaks, rule};

/// The leadership under one ballot.
#[derive(Clone, Debug)]
pub(super) struct Lead {
    /// The nonce of the owner's run.
    nonce: u64,
    start: Slot,
    log: Vec<Ballot>,
    /// Whether an entry was chosen under the ballot.
    established: bool,
}

/// The proposal of one ballot for one slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Proposed {
    content: Content,
    before: Ballot,
}

impl Validator {
    // specs: P3, P10
    pub(super) fn on_started(
        &mut self,
        node: NodeId,
        nonce: u64,
        stored: &DurableState,
        log: &[Entry],
    ) -> Verdict {
        let cut = stored.snapshot.map_or(Slot::NONE, |snapshot| snapshot.slot);
        let known = self.chosen.get(..cut.0 as usize);
        let Some(known) = known else {
            return breaks("P10", "starts with a log that was cut where no entry is chosen");
        };
        let storage = Storage {
            promised: stored.promised,
            accepted: stored.accepted,
            voting: stored.voting,
            log: known.iter().chain(log).copied().collect(),
        };
        let replica = &mut self.replicas[node.index()];
        let (promised, vote) = (replica.promise_said, replica.vote_said);
        rule("P3", stored.promised.max(stored.accepted) >= promised, || {
            format!("has forgotten its promise of {promised}")
        })?;
        rule("P3", storage.end() >= vote, || format!("has forgotten its vote {vote:?}"))?;
        if let VotingStatus::Voter { epoch } | VotingStatus::Rejoining { epoch } = stored.voting {
            replica.epochs.insert(epoch);
        }
        replica.start(nonce, storage, cut);
        self.on_rebuilt(node, cut);
        Ok(())
    }

    pub(super) fn on_received(&mut self, node: NodeId, from: NodeId, message: &Message) {
        let replica = &mut self.replicas[node.index()];
        replica.removed_before = replica.removed;
        // Only a node that votes or has voted sends any other message.
        replica.group_exists |= !matches!(
            message,
            Message::Hello { .. }
                | Message::HelloBack { .. }
                | Message::Recall { .. }
                | Message::Recalled { .. }
        );
        if let Message::Promised { epoch, ballot, .. }
        | Message::Accepted { epoch: Some(epoch), ballot, .. } = *message
        {
            self.on_vote_heard(from, epoch, ballot, message);
        }
        let replica = &mut self.replicas[node.index()];
        match *message {
            Message::Promised { ballot, epoch, end, .. } => {
                replica.promises.insert(from, (ballot, epoch, end));
            }
            Message::Accepted { ballot, up_to, epoch: Some(epoch), .. } => {
                let vote = replica.votes.entry((from, ballot, epoch)).or_default();
                *vote = up_to.max(*vote);
            }
            Message::Hello { voting: VotingStatus::Rejoining { epoch }, .. } => {
                replica.requests.insert((from, epoch));
            }
            Message::Recalled { nonce, epoch, promised, end } => {
                let own = replica.memory.voting;
                let same = match own {
                    VotingStatus::Voter { epoch: own } | VotingStatus::Rejoining { epoch: own } => {
                        own == epoch
                    }
                    _ => is_first(epoch),
                };
                let beyond = promised > replica.found.0 || end > replica.found.1;
                replica.has_gap |= nonce == replica.nonce && same && beyond;
            }
            Message::HelloBack { nonce, voting, .. } => {
                replica.stale_answers[from.index()] = Some(voting);
                if nonce == replica.nonce {
                    replica.answers[from.index()] = Some(voting);
                    replica.group_exists |= matches!(
                        voting,
                        VotingStatus::Voter { .. } | VotingStatus::Rejoining { .. }
                    );
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_wrote(&mut self, node: NodeId, record: &Record) -> Verdict {
        let replica = &mut self.replicas[node.index()];
        let memory = &replica.memory;
        match *record {
            // specs: P1, P2
            Record::Promise { ballot } => {
                rule("P2", ballot > memory.promised, || {
                    format!("promises {ballot} after {}", memory.promised)
                })?;
                // A node that may not vote promises the ballot of the chosen entry, which may come
                // from its lost storage.
                if ballot.belongs_to(node) && memory.voting.is_voter() {
                    let fresh = replica.candidacies.insert(ballot);
                    let led = self.leads.contains_key(&ballot);
                    rule("P1", fresh && !led, || {
                        format!("starts an election under {ballot} again")
                    })?;
                }
                Ok(())
            }
            Record::Accept { slot, entry } => self.on_entry(node, slot, entry),
            Record::Adopt { ballot, up_to } => {
                rule("P2", ballot >= memory.promised, || format!("adopts the log of {ballot}"))?;
                rule("P11", up_to >= replica.committed, || format!("cuts its log at {up_to}"))?;
                rule("P4", up_to <= memory.last(), || format!("adopts up to {up_to}, a gap"))?;
                if ballot.belongs_to(node) {
                    return self.on_elected(node, ballot, up_to);
                }
                // specs: P8
                let Some(lead) = self.leads.get(&ballot) else {
                    return breaks("P8", format!("adopts the log of {ballot}, which has no log"));
                };
                let same = lead.log.get(..up_to.0 as usize).is_some_and(|log| {
                    log.iter().eq(memory.log[..up_to.0 as usize].iter().map(|entry| &entry.ballot))
                });
                rule("P8", up_to >= lead.start && same, || {
                    format!("adopts the log of {ballot} up to {up_to}, without having it")
                })
            }
            Record::VotingStatus(_) => Ok(()),
        }
    }

    // specs: P4, P5, P11
    fn on_entry(&mut self, node: NodeId, slot: Slot, entry: Entry) -> Verdict {
        let replica = &self.replicas[node.index()];
        let memory = &replica.memory;
        rule("P11", slot > replica.committed, || format!("replaces committed slot {slot}"))?;
        rule("P4", slot <= memory.last().next(), || format!("leaves a gap before {slot}"))?;
        // An accepted ballot counts as promised: a checkpoint brings one.
        rule("P2", entry.ballot <= memory.promised.max(memory.accepted), || {
            format!("accepts an entry of {} without a promise", entry.ballot)
        })?;
        let before = memory.ballot(Slot(slot.0 - 1));
        let leads = replica.role == Some(Role::Primary) && entry.ballot == memory.promised;
        if leads && entry.ballot.belongs_to(node) {
            let last = memory.last();
            rule("P5", slot == last.next(), || format!("proposes in slot {slot} after {last}"))?;
            self.on_proposed(node, slot, &entry)?;
            let lead = self.leads.get_mut(&entry.ballot).expect("a primary was elected");
            lead.log.push(entry.ballot);
        }
        let new = Proposed { content: entry.content, before };
        let known = *self.proposed.entry((slot, entry.ballot)).or_insert(new);
        rule("P5", known.content == entry.content, || {
            format!("slot {slot} of {} has two contents", entry.ballot)
        })?;
        rule("P4", known.before == before, || {
            format!("slot {slot} of {} follows {before} and {}", entry.ballot, known.before)
        })
    }

    // specs: M1, M3, M4, R7
    fn on_proposed(&self, node: NodeId, slot: Slot, entry: &Entry) -> Verdict {
        let replica = &self.replicas[node.index()];
        let members = replica.memory.members(self.first);
        let is_change = |entry: &Entry| matches!(entry.content, Content::Change(_));
        if let Content::Payload(_) = entry.content {
            return Ok(());
        }
        let lead = &self.leads[&entry.ballot];
        let adopted = self.votes(node, entry.ballot, lead.start, true);
        // An epoch that has ended since then may have adopted the log too.
        let established = lead.established || members.is_quorum(adopted);
        let open = &replica.memory.log[(replica.committed.0 as usize).min(slot.0 as usize - 1)..];
        rule("M3", established && !open.iter().any(is_change), || {
            format!("proposes {:?} too early", entry.content)
        })?;
        match entry.content {
            Content::Change(next) => {
                let added = next.voters.difference(members.voters);
                let removed = members.voters.difference(next.voters);
                rule("M1", added.len() + removed.len() <= 1 && !next.voters.is_empty(), || {
                    format!("changes {:?} to {:?}", members.voters, next.voters)
                })?;
                let ready = added.intersection(members.learners).intersection(adopted);
                rule("M4", added == ready, || format!("adds {added:?}, which is not ready"))
            }
            Content::Rejoin { node: asking, epoch } => {
                let asked = replica.requests.contains(&(asking, epoch));
                let known = replica.memory.named_epoch(asking) == epoch;
                rule("R7", asked && !known, || format!("names epoch {epoch:?} of {asking} unasked"))
            }
            Content::Payload(_) => Ok(()),
        }
    }

    /// Checks that a node which becomes primary, with its log up to `start`, was elected.
    // specs: P6, P7, R4
    fn on_elected(&mut self, node: NodeId, ballot: Ballot, start: Slot) -> Verdict {
        let replica = &self.replicas[node.index()];
        let memory = &replica.memory;
        rule("P3", replica.safe.promised == ballot, || format!("leads without {ballot} safe"))?;
        let log = &memory.log[..start.0 as usize];
        let members = members_of(log, self.first).next().unwrap_or(self.first);
        let mut all = NodeSet::EMPTY.with(node);
        let mut valid = all;
        let mut ends = Vec::new();
        for (from, (promised, epoch, end)) in &replica.promises {
            if *promised != ballot {
                continue;
            }
            all = all.with(*from);
            if *epoch == named_epoch(log, *from) && members.voters.contains(*from) {
                valid = valid.with(*from);
                ends.push((*end, *from));
            }
        }
        rule("P6", members.is_quorum(all), || format!("leads with promises of {all:?}"))?;
        rule("R4", members.is_quorum(valid), || {
            format!("leads with promises of {all:?}, of which only {valid:?} count")
        })?;
        let log: Vec<Ballot> = log.iter().map(|entry| entry.ballot).collect();
        // The node's own log must be the best log, or have become it.
        if let Some((best, from)) = ends.iter().max()
            && memory.accepted <= best.ballot
        {
            let theirs = self.promised.get(&(*from, ballot, *best));
            let theirs = theirs.map_or(&[][..], |theirs| &theirs[..best.slot.0 as usize]);
            let longer = start == best.slot || memory.accepted == best.ballot;
            rule("P7", log.starts_with(theirs) && start >= best.slot && longer, || {
                format!("leads with its log up to {start}, although {from} promised {best:?}")
            })?;
        }
        let lead = Lead { nonce: replica.nonce, start, log, established: false };
        let other = self.leads.insert(ballot, lead);
        rule("P1", other.is_none(), || format!("leads under {ballot} again"))
    }

    // specs: P1, P2, P3, P8, P12, M5
    pub(super) fn on_said(&mut self, node: NodeId, message: &Message) -> Verdict {
        let replica = &mut self.replicas[node.index()];
        let (memory, safe) = (&replica.memory, &replica.safe);
        match *message {
            Message::Prepare { ballot } => {
                let own = ballot.belongs_to(node) && safe.promised == ballot;
                rule("P1", own, || format!("asks for {ballot}, and has promised {}", safe.promised))
            }
            Message::Promised { ballot, end, .. } => {
                rule("P2", ballot == memory.promised, || {
                    format!("promises {ballot} after {}", memory.promised)
                })?;
                // An entry that arrived as chosen may not be on the disk yet.
                let kept = safe.end() >= end || end.slot <= replica.committed;
                // A late answer to a node that leads already counts nowhere.
                let kept = kept || self.leads.contains_key(&ballot);
                let kept = kept && safe.promised >= ballot && end == memory.end();
                rule("P3", kept, || {
                    format!(
                        "promises {ballot} with {end:?}; safe: {} {:?}",
                        safe.promised,
                        safe.end()
                    )
                })?;
                replica.promise_said = ballot.max(replica.promise_said);
                let log = memory.log.iter().map(|entry| entry.ballot).collect();
                self.promised.insert((node, ballot, end), log);
                Ok(())
            }
            Message::Accepted { ballot, up_to, epoch, .. } => {
                rule("P2", ballot >= memory.promised, || {
                    format!("acknowledges {ballot} after {}", memory.promised)
                })?;
                rule("P3", safe.last() >= up_to, || {
                    format!("acknowledges {up_to}; safe: {}", safe.last())
                })?;
                if epoch.is_none() {
                    return Ok(());
                }
                rule("P8", memory.accepted == ballot, || format!("votes without {ballot}'s log"))?;
                rule("P3", safe.accepted == ballot, || format!("votes before {ballot} is safe"))?;
                let Some(lead) = self.leads.get(&ballot) else {
                    return breaks("P8", format!("votes under {ballot}, which does not lead"));
                };
                let there = Slot(up_to.0.saturating_sub(1));
                let same = up_to == Slot::NONE
                    || lead.log.get(there.0 as usize) == Some(&memory.ballot(up_to));
                rule("P8", up_to >= lead.start && same, || {
                    format!("votes under {ballot} up to {up_to}, without having it")
                })?;
                replica.vote_said = LogEnd { ballot, slot: up_to }.max(replica.vote_said);
                Ok(())
            }
            Message::Accept { ballot, .. }
            | Message::Heartbeat { ballot, .. }
            | Message::Commit { ballot, .. } => {
                let leads = |lead: &Lead| lead.nonce == replica.nonce;
                let leads = self.leads.get(&ballot).is_some_and(leads);
                rule("P6", leads && ballot.belongs_to(node), || {
                    format!("leads under {ballot} without election")
                })?;
                rule("P2", ballot == memory.promised, || {
                    format!("leads under {ballot} after {}", memory.promised)
                })?;
                // A node that is being added leads as soon as its own log makes it a voter.
                let votes = || memory.members(self.first).voters.contains(node);
                rule("M5", !replica.removed_before || votes(), || "leads after its removal".into())
            }
            Message::PreVoteReply { ballot, granted: true, .. } => {
                let primary = replica.role == Some(Role::Primary);
                rule("P12", !primary && ballot > memory.promised, || {
                    format!("grants a pre-vote for {ballot}")
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the nodes that acknowledged a slot under a ballot, as its owner knows. With
    /// `epochs`, returns only the nodes whose epoch counts by the owner's log.
    fn votes(&self, node: NodeId, ballot: Ballot, slot: Slot, epochs: bool) -> NodeSet {
        let replica = &self.replicas[node.index()];
        let named = |of: NodeId| replica.memory.named_epoch(of);
        let own = replica.safe.accepted == ballot
            && replica.safe.last() >= slot
            && (!epochs || replica.epoch() == Some(named(node)));
        let others = replica.votes.iter().filter(|((from, of, epoch), up_to)| {
            *of == ballot && **up_to >= slot && (!epochs || *epoch == named(*from))
        });
        let set: NodeSet = others.map(|((from, ..), _)| *from).collect();
        if own { set.with(node) } else { set }
    }

    // specs: P9, P10, P11, R4, M2
    pub(super) fn on_committed(&mut self, node: NodeId, up_to: Slot) -> Verdict {
        let replica = &self.replicas[node.index()];
        rule("P11", up_to >= replica.committed, || format!("takes back slot {up_to}"))?;
        rule("P10", up_to <= replica.memory.last(), || {
            format!("commits {up_to} without having it")
        })?;
        let from = replica.committed.0 as usize;
        let own: Vec<Entry> = replica.memory.log[from..up_to.0 as usize].to_vec();
        for (index, entry) in own.iter().enumerate() {
            let known = self.chosen.get(from + index);
            rule("P10", known.is_none_or(|known| known == entry), || {
                format!("commits another entry in slot {}", from + index + 1)
            })?;
        }
        if up_to.0 as usize > self.chosen.len() {
            let ballot = replica.memory.promised;
            rule("P10", replica.role == Some(Role::Primary), || {
                format!("commits {up_to}, which is not chosen")
            })?;
            let members = replica.memory.members(self.first);
            let mut before = members_of(&replica.memory.log, self.first);
            let votes = self.votes(node, ballot, up_to, true);
            if !members.is_quorum(votes) {
                let any = self.votes(node, ballot, up_to, false);
                let name = if members.is_quorum(any) {
                    "R4"
                } else if before.any(|members| members.is_quorum(votes)) {
                    "M2"
                } else {
                    "P9"
                };
                return breaks(name, format!("commits {up_to} with votes of {votes:?}"));
            }
            if let Some(lead) = self.leads.get_mut(&ballot) {
                lead.established = true;
            }
            self.chosen.truncate(from);
            self.chosen.extend(own);
        }
        self.replicas[node.index()].committed = up_to;
        Ok(())
    }

    /// Updates whether the node is removed, by its decided entries.
    pub(super) fn update_removed(&mut self, node: NodeId) {
        let replica = &self.replicas[node.index()];
        let members = members_of(replica.decided(), self.first).next().unwrap_or(self.first);
        self.replicas[node.index()].removed = !members.voters.contains(node);
    }

    /// Checks that a daemon that starts gives its clients a new generation.
    // specs: E8
    pub(super) fn on_generation(&mut self, node: NodeId, generation: Generation) -> Verdict {
        let before = self.replicas[node.index()].generation.replace(generation);
        rule("E8", before.is_none_or(|before| before < generation), || {
            format!("takes generation {generation:?} after {before:?}")
        })
    }
}

/// Returns whether the epoch is the first one.
pub(super) fn is_first(epoch: StorageEpoch) -> bool {
    epoch == StorageEpoch::FIRST
}
