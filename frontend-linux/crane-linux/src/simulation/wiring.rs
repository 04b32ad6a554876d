//! Links as the daemons see them: made, judged by the product's handshake, fenced, and closed.

use crane_core::id::Generation;

use crate::driver::DriverInput;
use crate::net::frame::FrameKind;
use crate::net::handshake::{Hello, judge};
use crate::net::message::read_message;

use super::group::{MICROSECOND, MILLISECOND, SimEvent, SimGroup};
use super::links::SentFrame;
use super::queue::Nanos;

/// How long TCP waits for an acknowledgement before it gives up.
const TIMED_OUT: Nanos = 5000 * MILLISECOND;

impl SimGroup {
    /// Sends a frame by the link that the sender knows.
    pub(super) fn send(&mut self, from: usize, to: usize, frame: SentFrame) {
        let Some(link) = self.replicas[from].linked[to] else { return };
        let Self { network, random, now, .. } = self;
        if let Some((arrives, frame)) = network.send(*now, link, from, frame, random) {
            self.schedule(arrives, SimEvent::Frame { at: to, from, link, frame });
        }
    }

    /// Gives a daemon a frame, unless its link has been replaced or is gone.
    pub(super) fn on_frame(&mut self, at: usize, from: usize, link: u64, frame: &SentFrame) {
        if self.replicas[at].linked[from] != Some(link) {
            self.happened.late_frames += 1;
            return;
        }
        let (kind, body) = (frame.0, &*frame.1);
        let node = self.replicas[from].id;
        let input = match kind {
            FrameKind::Paxos => {
                DriverInput::Message(node, read_message(body).expect("a message was sent"))
            }
            FrameKind::Ops => DriverInput::Ops(node, body.to_vec()),
            FrameKind::Server => DriverInput::Report(node, plain(body)),
            FrameKind::Vitals => DriverInput::Vitals(node, plain(body)),
            FrameKind::Calls => DriverInput::Calls(node, plain(body)),
            FrameKind::Mark => DriverInput::Mark(node, plain(body)),
            FrameKind::Roster => DriverInput::Roster(node, plain(body)),
            FrameKind::Checkpoint => DriverInput::Checkpoint(node, plain(body)),
            FrameKind::Clock => DriverInput::Clock(node, plain(body)),
            other => panic!("{other:?} is no frame between drivers"),
        };
        self.give(at, input);
    }

    /// Links two replicas that both run, or tries again later.
    pub(super) fn dial(&mut self, one: usize, other: usize) {
        let run = |place: usize| self.replicas[place].daemon.is_some();
        if !(run(one) && run(other)) || self.link_between(one, other).is_some() {
            return;
        }
        if !self.network.can_link(one, other) {
            let (low, high) = (50 * MILLISECOND, 500 * MILLISECOND);
            return self.schedule_in(low, high, SimEvent::Dial { one, other });
        }
        self.make_link(one, other);
    }

    /// Makes a link between two running replicas, in place of an older one if there is one.
    pub(super) fn make_link(&mut self, one: usize, other: usize) {
        let (mine, theirs) = (self.hello_to(one, other), self.hello_to(other, one));
        for (mine, theirs) in [(&mine, &theirs), (&theirs, &mine)] {
            if let Err(refusal) = judge(mine, theirs) {
                let changes = self.replicas[one].changes || self.replicas[other].changes;
                assert!(changes, "{} refuses {}: {refusal:?}", mine.node, theirs.node);
                let again = SimEvent::Dial { one, other };
                return self.schedule_in(100 * MILLISECOND, 500 * MILLISECOND, again);
            }
        }
        let mut begin = [0, 0];
        for begin in &mut begin {
            *begin = self.now + 2 * self.network.draw_delay(&mut self.random);
        }
        let link = self.network.link([one, other], begin);
        for (at, peer, begin, hello) in
            [(one, other, begin[0], theirs), (other, one, begin[1], mine)]
        {
            let (run, hello) = (self.replicas[at].run, Box::new(hello));
            self.schedule(begin, SimEvent::LinkUp { at, run, link, peer, hello });
        }
    }

    fn hello_to(&mut self, from: usize, to: usize) -> Hello {
        let number = self.replicas[to].id.number();
        let host = self.replicas[from].host().expect("it runs");
        Hello { to: number, ..host.hello.clone() }
    }

    /// Returns the newest link between two replicas.
    pub(super) fn link_between(&self, one: usize, other: usize) -> Option<u64> {
        let links = self.network.links_of(one);
        links
            .into_iter()
            .rfind(|link| self.network.ends(*link).is_some_and(|ends| ends.contains(&other)))
    }

    /// Closes all links between two replicas.
    pub(super) fn close_links(&mut self, one: usize, other: usize) {
        while let Some(link) = self.link_between(one, other) {
            self.close_link(link);
        }
    }

    /// Closes a link. Both ends notice, each at its time, and try again.
    pub(super) fn close_link(&mut self, link: u64) {
        let Some([one, other]) = self.network.ends(link) else { return };
        self.network.close(link);
        for (at, peer) in [(one, other), (other, one)] {
            let noticed = if self.network.is_cut(peer, at) { TIMED_OUT } else { MILLISECOND };
            self.schedule_in(0, noticed, SimEvent::LinkDown { at, link, peer });
        }
        let again = SimEvent::Dial { one, other };
        self.schedule_in(20 * MILLISECOND, 500 * MILLISECOND, again);
    }

    /// Gives a daemon its end of a link. The clocks of the hosts do not go back, so each daemon is
    /// the latest one of its number, unless it is a new member: it may have the number of an old
    /// one, and does not know the server's incarnation yet, which is part of a generation.
    pub(super) fn on_link_up(&mut self, at: usize, link: u64, peer: usize, hello: Box<Hello>) {
        let daemon = self.replicas[at].daemon.as_mut().expect("it runs");
        let newest = daemon.superseded_by(&hello);
        if let Some(newest) = newest {
            assert!(self.replicas[peer].changes, "{newest:?} is later than {hello:?}");
            let fence = SimEvent::Fence { at: peer, link, from: at, newest };
            return self.schedule_in(50 * MICROSECOND, MILLISECOND, fence);
        }
        self.replicas[at].linked[peer] = Some(link);
        self.give(at, DriverInput::LinkUp(hello));
    }

    /// Has a daemon learn that a later one of its number is known, and closes the link.
    pub(super) fn on_fence(&mut self, at: usize, link: u64, from: usize, newest: Generation) {
        if self.replicas[at].linked[from] == Some(link) {
            let node = self.replicas[from].id;
            self.give(at, DriverInput::Fenced(node, newest));
        }
        self.close_link(link);
    }

    pub(super) fn on_link_down(&mut self, at: usize, link: u64, peer: usize) {
        if self.replicas[at].linked[peer] == Some(link) {
            self.replicas[at].linked[peer] = None;
            let node = self.replicas[peer].id;
            self.give(at, DriverInput::LinkDown(node));
        }
    }

    /// Cuts a direction: its frames wait, and the link times out.
    pub(super) fn cut(&mut self, from: usize, to: usize) {
        self.network.cut(self.now, from, to);
        let since = self.network.cut_since(from, to).expect("just cut");
        let times_out = since + TIMED_OUT;
        self.schedule(times_out, SimEvent::TimeOut { from, to, since });
    }

    /// Mends all directions.
    pub(super) fn mend_network(&mut self) {
        for (link, from, frame) in self.network.mend() {
            let Self { network, random, now, .. } = self;
            let Some(ends) = network.ends(link) else { continue };
            let to = if ends[0] == from { ends[1] } else { ends[0] };
            if let Some((arrives, frame)) = network.send(*now, link, from, frame, random) {
                self.schedule(arrives, SimEvent::Frame { at: to, from, link, frame });
            }
        }
    }
}

/// Decodes a body that holds a value and nothing else.
fn plain<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
    postcard::from_bytes(body).expect("a value was sent")
}
