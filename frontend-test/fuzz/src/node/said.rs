//! Messages to a node: arbitrary messages, and plausible answers.

use arbitrary::{Result, Unstructured};
use crane_core::id::{NodeId, Slot};
use crane_core::limits::NODES_MAX;
use crane_core::paxos::{
    Ballot, Content, Descriptor, Entry, LogEnd, Members, Message, NodeSet, RANGE_BYTES_MAX,
    RANGE_ENTRIES_MAX, SlotRange, SnapshotMeta, StorageEpoch, VotingStatus,
};

use super::Host;
use crate::wire;

impl<const WINDOW: usize> Host<WINDOW> {
    /// Returns any message that a peer's frame may bring: one that can be decoded.
    pub(super) fn message(
        &self,
        from: &mut Unstructured<'_>,
        sender: NodeId,
    ) -> Result<Option<Message>> {
        let asked = self.ballot(from, sender)?;
        let message = match from.int_in_range(0..=17_u8)? {
            0 => Message::Hello {
                nonce: from.arbitrary()?,
                voting: self.voting(from)?,
                named: self.epoch(from)?,
            },
            1 => Message::HelloBack {
                nonce: if from.ratio(7, 8)? { self.nonce } else { from.arbitrary()? },
                voting: self.voting(from)?,
                named: self.epoch(from)?,
            },
            2 => Message::PreVote { ballot: asked },
            3 => Message::PreVoteReply {
                ballot: asked,
                granted: from.arbitrary()?,
                promised: self.ballot(from, sender)?,
                committed: self.slot(from)?,
            },
            4 => Message::Prepare { ballot: asked },
            5 => Message::Promised {
                ballot: asked,
                epoch: self.epoch(from)?,
                end: LogEnd { ballot: self.ballot(from, sender)?, slot: self.slot(from)? },
                committed: self.slot(from)?,
            },
            6 => Message::Refused { ballot: asked, promised: self.ballot(from, sender)? },
            7 => Message::Fetch {
                ballot: asked,
                committed: self.slot(from)?,
                from: self.slot(from)?,
                before: self.ballot(from, sender)?,
            },
            8 => {
                let range = self.range(from)?;
                Message::Copy { ballot: asked, range, before: self.before(from, sender, range)? }
            }
            9 => Message::Chosen { range: self.range(from)? },
            10 | 11 => {
                let range = self.range(from)?;
                Message::Accept {
                    ballot: asked,
                    range,
                    before: self.before(from, sender, range)?,
                    committed: self.slot(from)?,
                    start: self.slot(from)?,
                }
            }
            12 => Message::Accepted {
                ballot: asked,
                up_to: self.slot(from)?,
                received: self.slot(from)?,
                epoch: if from.ratio(3, 4)? { Some(self.epoch(from)?) } else { None },
                beat: from.int_in_range(0..=3)?,
            },
            13 => Message::Commit { ballot: asked, committed: self.slot(from)? },
            14 => Message::Heartbeat {
                ballot: asked,
                committed: self.slot(from)?,
                last: self.slot(from)?,
                last_ballot: self.ballot(from, sender)?,
                start: self.slot(from)?,
                beat: from.arbitrary()?,
            },
            15 => Message::Recall { nonce: from.arbitrary()? },
            16 => Message::Recalled {
                nonce: if from.ratio(7, 8)? { self.nonce } else { from.arbitrary()? },
                epoch: self.epoch(from)?,
                promised: self.ballot(from, sender)?,
                end: LogEnd { ballot: self.ballot(from, sender)?, slot: self.slot(from)? },
            },
            _ => Message::TakeOver { ballot: asked },
        };
        // A message that cannot be encoded is not delivered.
        let decoded = Message::decode(&wire::encoded_message(&message));
        Ok(decoded.ok())
    }

    /// Returns a plausible answer of a member to a message of this node, so that the node makes
    /// progress.
    pub(super) fn answer(&self, from: &mut Unstructured<'_>) -> Result<Option<(NodeId, Message)>> {
        if self.asked.is_empty() {
            return Ok(None);
        }
        let (sender, asked) = &self.asked[from.int_in_range(0..=self.asked.len() - 1)?];
        let sender = *sender;
        let epoch = if from.ratio(7, 8)? { self.counted(sender) } else { self.epoch(from)? };
        let message = match *asked {
            Message::Hello { nonce, .. } => {
                Message::HelloBack { nonce, voting: self.voting(from)?, named: epoch }
            }
            Message::PreVote { ballot } => {
                let (granted, promised) = (from.ratio(7, 8)?, self.ballot(from, sender)?);
                Message::PreVoteReply { ballot, granted, promised, committed: self.slot(from)? }
            }
            Message::Prepare { ballot } => {
                let other = LogEnd { ballot: self.ballot(from, sender)?, slot: self.slot(from)? };
                let end = if from.arbitrary()? { self.node.end() } else { other };
                Message::Promised { ballot, epoch, end, committed: self.slot(from)? }
            }
            Message::Fetch { ballot, from: first, before, .. } => {
                let range = SlotRange { first, count: length_of_range(from)? as u32 };
                if from.arbitrary()? {
                    Message::Copy { ballot, range, before }
                } else {
                    Message::Chosen { range }
                }
            }
            Message::Accept { ballot, range, .. } => {
                let received = Slot(range.last().0 - from.int_in_range(0..=range.count as u64)?);
                let up_to = if from.arbitrary()? { received } else { self.slot(from)? };
                Message::Accepted { ballot, up_to, received, epoch: Some(epoch), beat: 0 }
            }
            Message::Heartbeat { ballot, last, beat, .. } => {
                let received = if from.arbitrary()? { last } else { self.slot(from)? };
                let up_to = if from.arbitrary()? { received } else { self.slot(from)? };
                Message::Accepted { ballot, up_to, received, epoch: Some(epoch), beat }
            }
            _ => return Ok(None),
        };
        Ok(Some((sender, message)))
    }

    /// Returns the epoch of a member that the log names.
    fn counted(&self, node: NodeId) -> StorageEpoch {
        let mut snapshot = SnapshotMeta::genesis(self.config.members);
        self.storage.log.iter().for_each(|entry| snapshot.include(entry));
        snapshot.epoch(node)
    }

    fn range(&self, from: &mut Unstructured<'_>) -> Result<SlotRange> {
        let first = self.slot(from)?;
        let count = if from.ratio(63, 64)? { length_of_range(from)? as u32 } else { u32::MAX };
        Ok(SlotRange { first, count })
    }

    /// Returns a ballot for the entry before a range: mostly that of the entry in the log.
    fn before(
        &self,
        from: &mut Unstructured<'_>,
        sender: NodeId,
        range: SlotRange,
    ) -> Result<Ballot> {
        let previous = Slot(range.first.0.saturating_sub(1));
        match self.storage.entry(previous) {
            Some(entry) if from.ratio(7, 8)? => Ok(entry.ballot),
            _ => self.ballot(from, sender),
        }
    }

    /// Returns entries for a range, mostly as many as its count. Some are the entries of the log,
    /// and some resemble the entry before, in the same ballot or a higher one.
    pub(super) fn entries(
        &self,
        from: &mut Unstructured<'_>,
        sender: NodeId,
        range: Option<SlotRange>,
    ) -> Result<Vec<Entry>> {
        let mut count = range.map_or(0, |range| range.count).min(2 * RANGE_ENTRIES_MAX as u32);
        if from.ratio(1, 32)? {
            count = from.int_in_range(0..=RANGE_ENTRIES_MAX as u32 + 1)?;
        }
        let first = range.map_or(Slot::NONE, |range| range.first);
        let mut entries: Vec<Entry> = Vec::new();
        for place in 0..count {
            let there = self.storage.entry(Slot(first.0.saturating_add(place.into())));
            let entry = match (from.int_in_range(0..=7_u8)?, there, entries.last()) {
                (0..=3, Some(there), _) => *there,
                (0..=4, _, Some(last)) => Entry { ballot: last.ballot, content: content(from)? },
                (5, _, Some(Entry { ballot, .. })) => {
                    let round = Ballot::ROUND_MAX.min(ballot.round() + 1);
                    let content = self.own_content(from)?;
                    Entry { ballot: Ballot::new(round, ballot.node()), content }
                }
                _ => self.entry(from, sender)?,
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Returns a ballot: the node's own, one that the node has used, the sender's next one, or any.
    fn ballot(&self, from: &mut Unstructured<'_>, sender: NodeId) -> Result<Ballot> {
        let own = self.node.ballot();
        Ok(match from.int_in_range(0..=15_u8)? {
            0..=4 => own,
            5..=7 => *from.choose(&self.ballots)?,
            8..=11 => own.next_of(sender),
            12 => Ballot::new(own.round(), Some(sender)),
            13 => self.node.end().ballot,
            14 => Ballot::new(Ballot::ROUND_MAX - from.int_in_range(0..=2)?, Some(sender)),
            _ => {
                let node = if from.arbitrary()? { Some(any_node(from)?) } else { None };
                Ballot::new(from.int_in_range(0..=5)?, node)
            }
        })
    }

    fn slot(&self, from: &mut Unstructured<'_>) -> Result<Slot> {
        let near = match from.int_in_range(0..=15_u8)? {
            0..=5 => self.node.committed(),
            6..=11 => self.node.last(),
            12 => self.node.durable(),
            13 => Slot(u64::MAX - 2),
            _ => Slot(from.int_in_range(0..=20)?),
        };
        Ok(Slot(near.0.saturating_add(from.int_in_range(0..=4)?).saturating_sub(2)))
    }

    fn epoch(&self, from: &mut Unstructured<'_>) -> Result<StorageEpoch> {
        if from.ratio(7, 8)? {
            Ok(*from.choose(&self.epochs)?)
        } else {
            Ok(StorageEpoch(from.arbitrary()?))
        }
    }

    fn voting(&self, from: &mut Unstructured<'_>) -> Result<VotingStatus> {
        Ok(match from.int_in_range(0..=3_u8)? {
            0 => VotingStatus::Blank,
            1 => VotingStatus::Ready,
            2 => VotingStatus::Rejoining { epoch: self.epoch(from)? },
            _ => VotingStatus::Voter { epoch: self.epoch(from)? },
        })
    }

    fn entry(&self, from: &mut Unstructured<'_>, sender: NodeId) -> Result<Entry> {
        let ballot = self.ballot(from, sender)?;
        let own = from.ratio(1, 8)?;
        let content = if own { self.own_content(from)? } else { content(from)? };
        Ok(Entry { ballot, content })
    }

    /// Returns members: mostly those that the node knows, with one of them in another set.
    pub(super) fn members(&self, from: &mut Unstructured<'_>) -> Result<Members> {
        let mut set = || -> Result<NodeSet> {
            let bits = from.arbitrary::<u8>()?;
            Ok((1..=7).filter(|n| bits & (1 << (n - 1)) != 0).filter_map(NodeId::new).collect())
        };
        let any = Members { voters: set()?, learners: set()?, witnesses: set()? };
        if from.ratio(1, 4)? {
            return Ok(any);
        }
        let (mut members, node) = (self.node.members(), any_node(from)?);
        let toggled =
            |of: NodeSet| if of.contains(node) { of.without(node) } else { of.with(node) };
        match from.int_in_range(0..=3_u8)? {
            0 => members.voters = toggled(members.voters),
            1 => members.learners = toggled(members.learners),
            2 => members.witnesses = toggled(members.witnesses),
            _ => {
                members.voters = toggled(members.voters);
                members.learners = toggled(members.learners);
            }
        }
        Ok(members)
    }

    /// Returns a content that is not a payload.
    fn own_content(&self, from: &mut Unstructured<'_>) -> Result<Content> {
        Ok(if from.arbitrary()? {
            Content::Rejoin { node: any_node(from)?, epoch: self.epoch(from)? }
        } else {
            Content::Change(self.members(from)?)
        })
    }
}

/// Returns how many entries or payloads come together: mostly few, or the maximum, or one more.
pub(super) fn length_of_range(from: &mut Unstructured<'_>) -> Result<usize> {
    Ok(match from.int_in_range(0..=31_u8)? {
        0 => 0,
        1 => RANGE_ENTRIES_MAX + 1,
        2 | 3 => RANGE_ENTRIES_MAX,
        4 | 5 => from.int_in_range(7..=RANGE_ENTRIES_MAX)?,
        _ => from.int_in_range(1..=6)?,
    })
}

pub(super) fn any_node(from: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(NodeId::new(from.int_in_range(1..=NODES_MAX as u8)?).expect("at most 7"))
}

fn content(from: &mut Unstructured<'_>) -> Result<Content> {
    Ok(Content::Payload(descriptor(from)?))
}

pub(super) fn descriptor(from: &mut Unstructured<'_>) -> Result<Descriptor> {
    let length = match from.int_in_range(0..=31_u8)? {
        0 => u32::MAX,
        1 | 2 => RANGE_BYTES_MAX as u32 + 1 - from.int_in_range(0..=2)?,
        3 => 20_000,
        _ => from.int_in_range(0..=900)?,
    };
    Ok(Descriptor { length, digest: from.arbitrary::<u8>()?.into() })
}
