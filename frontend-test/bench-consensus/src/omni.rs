//! The omnipaxos crate with its memory storage.

use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use crate::{ENTRY_BYTES, Group};

#[derive(Clone, Debug)]
struct Bytes(#[allow(dead_code)] [u8; ENTRY_BYTES]);

impl Entry for Bytes {
    type Snapshot = NoSnapshot;
}

/// Three of them.
pub struct Three {
    nodes: Vec<OmniPaxos<Bytes, MemoryStorage<Bytes>>>,
    primary: usize,
    outgoing: Vec<Message<Bytes>>,
}

impl Three {
    pub fn new() -> Self {
        let nodes = (1..=3)
            .map(|pid| {
                let cluster_config = ClusterConfig {
                    configuration_id: 1,
                    nodes: vec![1, 2, 3],
                    ..Default::default()
                };
                let server_config =
                    ServerConfig { pid, buffer_size: 1 << 16, ..Default::default() };
                OmniPaxosConfig { cluster_config, server_config }
                    .build(MemoryStorage::default())
                    .expect("a sound configuration")
            })
            .collect();
        let mut three = Self { nodes, primary: 0, outgoing: Vec::new() };
        let primary = loop {
            three.nodes.iter_mut().for_each(OmniPaxos::tick);
            three.pass();
            let leaders: Vec<_> = three
                .nodes
                .iter()
                .map(|node| node.get_current_leader().map(|(pid, _)| pid))
                .collect();
            if let [Some(one), Some(two), Some(other)] = leaders[..]
                && one == two
                && two == other
            {
                break one as usize - 1;
            }
        };
        three.primary = primary;
        // The new leader's preparation.
        for _ in 0..10 {
            three.pass();
        }
        three
    }
}

impl Group for Three {
    fn applied(&self) -> u64 {
        self.nodes.iter().map(|node| node.get_decided_idx() as u64).min().expect("three nodes")
    }

    fn propose(&mut self, entries: u64) {
        for number in 0..entries {
            self.nodes[self.primary].append(Bytes([number as u8; ENTRY_BYTES])).expect("it leads");
        }
    }

    fn pass(&mut self) {
        for index in 0..self.nodes.len() {
            self.nodes[index].take_outgoing_messages(&mut self.outgoing);
            for message in self.outgoing.drain(..) {
                let to = message.get_receiver() as usize - 1;
                self.nodes[to].handle_incoming(message);
            }
        }
    }
}
