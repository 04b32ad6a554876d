//! The raft crate with its memory storage, driven as its own example does.

use raft::eraftpb::{ConfState, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};

use crate::{ENTRY_BYTES, Group};

/// Three of them.
pub struct Three {
    nodes: Vec<RawNode<MemStorage>>,
    applied: [u64; 3],
    empty: u64,
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
        let mut three = Self { nodes, applied: [0; 3], empty: 0, primary: 0 };
        three.nodes[0].campaign().expect("it may stand");
        for _ in 0..20 {
            three.pass();
        }
        assert_eq!(three.nodes[0].raft.state, StateRole::Leader);
        three.empty = three.applied[0];
        three.applied = [0; 3];
        three
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

    fn propose(&mut self, entries: u64) {
        for number in 0..entries {
            let data = vec![number as u8; ENTRY_BYTES];
            self.nodes[self.primary].propose(Vec::new(), data).expect("it leads");
        }
    }

    fn pass(&mut self) {
        for index in 0..self.nodes.len() {
            if !self.nodes[index].has_ready() {
                continue;
            }
            let mut ready = self.nodes[index].ready();
            let messages = ready.take_messages();
            self.send(messages);
            let mut applied = ready.take_committed_entries().len() as u64;
            let node = &mut self.nodes[index];
            node.store().wl().append(ready.entries()).expect("memory");
            if let Some(state) = ready.hs() {
                node.store().wl().set_hardstate(state.clone());
            }
            let messages = ready.take_persisted_messages();
            self.send(messages);
            let mut light = self.nodes[index].advance(ready);
            let messages = light.take_messages();
            applied += light.take_committed_entries().len() as u64;
            self.send(messages);
            self.nodes[index].advance_apply();
            self.applied[index] += applied;
        }
    }
}
