//! Election timeouts: the time that this node waits before it starts an election.

use crate::time::Duration;

use super::Node;

impl<const WINDOW: usize> Node<WINDOW> {
    /// Postpones this node's own election until a primary has been silent for its timeout.
    pub(super) fn wait_for_primary(&mut self) {
        self.draw_own_timeout();
        self.timer.election_at = self.now + self.timer.timeout;
    }

    /// Postpones this node's own election because another node has started one. The wait is no
    /// longer than that of a node in step, because the other election may fail again and again. A
    /// node that is not in step still waits as long as for a primary.
    // specs: H10
    pub(super) fn wait_for_candidate(&mut self) {
        let own_timeout = Duration::from_micros(self.draw_timeout());
        let wait = own_timeout + self.timer.sync_time.times(4);
        self.timer.election_at = self.timer.election_at.max(self.now + wait);
    }

    /// Draws this node's timeout, once for each primary.
    pub(super) fn draw_own_timeout(&mut self) {
        let timeouts_added = self.timeouts_added() * self.config.election_timeout.as_micros();
        self.timer.timeout = Duration::from_micros(self.draw_timeout() + timeouts_added);
    }

    /// Draws the timeout that this node would have if it were in step, in microseconds.
    pub(super) fn draw_timeout(&mut self) -> u64 {
        let election_timeout = self.config.election_timeout.as_micros();
        election_timeout
            + u64::from(self.config.rank) * election_timeout / 10
            + self.timer.draw(election_timeout / 4)
    }

    /// Returns how many election timeouts longer than other nodes this node waits. A witness waits
    /// longest, because it has no server, and as primary can only bring others up to date.
    pub(super) fn timeouts_added(&self) -> u64 {
        let witness = self.members().witnesses.contains(self.config.me);
        u64::from(!self.timer.in_step) * 2 + u64::from(witness) * 4
    }

    /// Schedules an election very soon, at nodes of low rank first, because the primary is gone.
    pub(super) fn start_election_soon(&mut self) {
        let step = self.config.heartbeat.as_micros() / 4;
        let mut wait = u64::from(self.config.rank) * step + self.timer.draw(step);
        wait += self.timeouts_added() * self.config.election_timeout.as_micros();
        self.timer.election_at = self.now + Duration::from_micros(wait);
    }

    /// Schedules the next election after a wait that grows with each attempt.
    // specs: H10
    pub(super) fn start_election_later(&mut self) {
        let heartbeat = self.config.heartbeat.as_micros();
        let wait =
            (heartbeat << self.timer.attempts.min(4)).min(self.config.election_timeout.as_micros());
        self.timer.attempts = self.timer.attempts.saturating_add(1);
        let spread =
            self.timer.draw(heartbeat + u64::from(self.timer.attempts.min(4)) * heartbeat / 2);
        let sync_time = self.timer.sync_time;
        let for_syncs = sync_time.as_micros() * 2 + self.timer.draw(sync_time.as_micros() * 4);
        self.timer.election_at = self.now + Duration::from_micros(wait + spread + for_syncs);
    }

    /// Postpones an election that is due until the disk makes progress. A whole wait instead would
    /// often end when a slow disk stands still again.
    // specs: H7
    pub(super) fn wait_for_disk(&mut self) {
        let heartbeat = self.config.heartbeat.as_micros();
        let wait = heartbeat + self.timer.draw(heartbeat);
        self.timer.election_at = self.now + Duration::from_micros(wait);
    }

    /// Returns how long a candidacy may last without a step forward.
    // specs: H10
    pub(super) fn candidacy_timeout(&self) -> Duration {
        self.config.election_timeout.times(2) + self.timer.sync_time.times(6)
    }

    /// Returns whether this node's log names it as a voter, with the storage epoch with which it
    /// votes.
    pub(super) fn may_start_election(&self) -> bool {
        let me = self.config.me;
        let counts = self.epoch() == Some(self.acceptor.log.end().epoch(me));
        counts && self.members().voters.contains(me)
    }
}
