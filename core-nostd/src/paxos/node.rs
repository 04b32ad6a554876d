//! One member of the group, as a state machine.

use crate::id::{NodeId, Slot};
use crate::time::Instant;

use super::{
    Ballot, Config, Content, Descriptor, Effects, Entry, Input, LogEnd, Members, Role, Standing,
    WriteNumber,
};

/// A member of the group. `WINDOW` is how many slots may be undecided, or decided and not yet durable
/// here; it is the same on all nodes, and does not shrink over a group's life.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node<const WINDOW: usize> {
    config: Config,
    now: Instant,
    promised: Ballot,
    standing: Standing,
    role: Role,
    committed: Slot,
    durable: Slot,
    end: LogEnd,
    members: Members,
    eager: bool,
    written: WriteNumber,
}

/// What stable storage holds when a node starts. [`Stored::BLANK`] if nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stored {
    /// From the last [`Record::Promise`](super::Record::Promise); zero if there is none.
    pub promised: Ballot,
    /// From the last [`Record::Standing`](super::Record::Standing).
    pub standing: Standing,
    /// Every slot up to here is known to have been committed. A hint: 0 is right, too. The frontend
    /// writes it when it likes to, and what it keeps here it may also admit before anyone is heard.
    pub committed: Slot,
}

impl Stored {
    /// An empty data directory.
    pub const BLANK: Stored =
        Stored { promised: Ballot::ZERO, standing: Standing::Blank, committed: Slot::NONE };
}

/// Why nothing was proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProposeError {
    /// This node may not propose; the primary, if known, may.
    NotPrimary {
        /// Who that is.
        primary: Option<NodeId>,
    },
    /// Too many slots or bytes are undecided. Ask again after the next [`Input::Message`] or
    /// [`Input::Durable`].
    Full,
}

impl core::fmt::Display for ProposeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            ProposeError::NotPrimary { .. } => "this node is not the primary",
            ProposeError::Full => "too much is undecided",
        })
    }
}

impl core::error::Error for ProposeError {}

/// What a node knows of another member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Contact {
    /// When it was last heard from, since this node's start.
    pub heard: Option<Instant>,
    /// As primary: up to which slot its log is durable and this one's, as far as is known.
    pub matched: Slot,
}

impl<const WINDOW: usize> Node<WINDOW> {
    /// Starts a node from what its storage holds. `log` gives every entry that is in the log, from
    /// slot 1 and without gaps. Nothing comes out; call with [`Input::Wake`] next.
    ///
    /// # Panics
    /// When `config` or `log` break what is said here and in [`Config`].
    pub fn restore(
        config: Config,
        now: Instant,
        stored: Stored,
        log: impl IntoIterator<Item = (Slot, Entry)>,
    ) -> Self {
        assert!(config.nonce != 0 && config.members.is_sound());
        let mut end = LogEnd::default();
        for (slot, entry) in log {
            assert_eq!(slot, end.slot.next(), "the log has a gap");
            end = LogEnd { ballot: entry.ballot, slot };
        }
        let members = config.members;
        Self {
            config,
            now,
            promised: stored.promised.max(end.ballot),
            standing: stored.standing,
            role: Role::Recovering,
            committed: stored.committed,
            durable: end.slot,
            end,
            members,
            eager: true,
            written: WriteNumber(0),
        }
    }

    /// Lets the node know of something that happened, and collects what it wants done.
    ///
    /// # Panics
    /// When `out` is not empty, or an invariant of the protocol turns out to be broken: better stopped
    /// than wrong.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Effects) {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let _ = input;
    }

    /// Proposes a payload for the next slot. The payload belongs to the
    /// [`Effect::Write`](super::Effect::Write) among the effects, and to every message that names it.
    ///
    /// # Errors
    /// [`ProposeError`]; nothing has changed then.
    ///
    /// # Panics
    /// When `out` is not empty.
    pub fn propose(
        &mut self,
        now: Instant,
        descriptor: Descriptor,
        out: &mut Effects,
    ) -> Result<Slot, ProposeError> {
        assert!(out.is_empty(), "the caller has carried out the effects of the step before");
        self.now = self.now.max(now);
        let _ = Content::Payload(descriptor);
        Err(ProposeError::NotPrimary { primary: self.primary() })
    }

    /// When to call with [`Input::Wake`], at the latest. May be past: then at once.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.now + self.config.heartbeat
    }

    /// How many payloads can be proposed before something is decided.
    pub fn capacity_left(&self) -> usize {
        (WINDOW as u64).saturating_sub(self.end.slot.0 - self.committed.0) as usize
    }

    /// Whether this node wants to be primary. One whose server is far behind the script lets others
    /// stand first, and stands itself only when nobody else does.
    pub fn set_eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    /// Which node this is.
    pub fn me(&self) -> NodeId {
        self.config.me
    }

    /// What this node does.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The primary, if it is known.
    pub fn primary(&self) -> Option<NodeId> {
        match self.role {
            Role::Backup { primary } => primary,
            Role::Primary => Some(self.config.me),
            Role::Candidate | Role::Recovering => None,
        }
    }

    /// The highest ballot that was promised here.
    pub fn ballot(&self) -> Ballot {
        self.promised
    }

    /// Whether it may vote.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The members, by the log here.
    pub fn members(&self) -> Members {
        self.members
    }

    /// The last slot that has an entry here.
    pub fn last(&self) -> Slot {
        self.end.slot
    }

    /// The last slot of which this node knows that it is chosen, with all before it.
    pub fn committed(&self) -> Slot {
        self.committed
    }

    /// The last slot of which this node knows that it survives a crash here, with all before it.
    pub fn durable(&self) -> Slot {
        self.durable
    }

    /// What is known of another member.
    pub fn contact(&self, node: NodeId) -> Contact {
        let _ = node;
        Contact::default()
    }
}
