//! The raft crate with its memory storage, driven as its own example does.

use raft::eraftpb::{ConfState, Entry, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::{Group, Sum, from_primary, value};

/// The group of three nodes.
pub struct Three {
    nodes: Vec<RawNode<MemStorage>>,
    applied: [u64; 3],
    sums: [Sum; 3],
    primary: usize,
}

impl Three {
    pub fn new(batch_append: bool) -> Self {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let nodes = (1..=3)
            .map(|id| {
                let storage = MemStorage::new_with_conf_state(ConfState {
                    voters: vec![1, 2, 3],
                    ..Default::default()
                });
                let config = Config {
                    id,
                    election_tick: 10,
                    heartbeat_tick: 3,
                    max_size_per_msg: 1 << 20,
                    max_inflight_msgs: 4096,
                    batch_append,
                    ..Default::default()
                };
                RawNode::new(&config, storage, &logger).expect("a sound configuration")
            })
            .collect();
        let mut three = Self { nodes, applied: [0; 3], sums: [Sum::default(); 3], primary: 0 };
        three.nodes[0].campaign().expect("a campaign");
        for _ in 0..20 {
            three.pass();
        }
        assert_eq!(three.nodes[0].raft.state, StateRole::Leader);
        three
    }

    fn apply(&mut self, index: usize, entries: Vec<Entry>) {
        // A new leader's own entry is empty.
        for entry in entries.iter().filter(|entry| !entry.data.is_empty()) {
            self.sums[index].add(&entry.data);
            self.applied[index] += 1;
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to as usize - 1;
            self.nodes[to].step(message).expect("a message of the group");
        }
    }
}

impl Group for Three {
    fn applied(&self) -> u64 {
        self.applied.into_iter().min().expect("three nodes")
    }

    fn sums(&self) -> [Sum; 3] {
        self.sums
    }

    fn propose(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.nodes[self.primary].propose(Vec::new(), value(number).to_vec()).expect("a leader");
        }
    }

    fn pass(&mut self) {
        for index in from_primary(self.primary) {
            if !self.nodes[index].has_ready() {
                continue;
            }
            let mut ready = self.nodes[index].ready();
            let messages = ready.take_messages();
            self.send(messages);
            self.apply(index, ready.take_committed_entries());
            let node = &mut self.nodes[index];
            node.store().wl().append(ready.entries()).expect("memory");
            if let Some(state) = ready.hs() {
                node.store().wl().set_hardstate(state.clone());
            }
            let messages = ready.take_persisted_messages();
            self.send(messages);
            let mut light = self.nodes[index].advance(ready);
            let messages = light.take_messages();
            self.apply(index, light.take_committed_entries());
            self.send(messages);
            self.nodes[index].advance_apply();
        }
    }
}
