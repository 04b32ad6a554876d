//! The omnipaxos crate with its memory storage.

use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use crate::{Group, Sum, from_primary, value};

#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

impl Entry for Bytes {
    type Snapshot = NoSnapshot;
}

/// The group of three nodes.
pub struct Three {
    nodes: Vec<OmniPaxos<Bytes, MemoryStorage<Bytes>>>,
    primary: usize,
    outgoing: Vec<Message<Bytes>>,
    applied: [usize; 3],
    sums: [Sum; 3],
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
        let (applied, sums) = ([0; 3], [Sum::default(); 3]);
        let mut three = Self { nodes, primary: 0, outgoing: Vec::new(), applied, sums };
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
        // These messages are the new leader's preparation.
        for _ in 0..10 {
            three.pass();
        }
        three
    }
}

impl Three {
    fn apply(&mut self, index: usize) {
        let decided = self.nodes[index].read_decided_suffix(self.applied[index]);
        let decided = decided.expect("decided entries");
        self.applied[index] += decided.len();
        for entry in decided {
            let LogEntry::Decided(Bytes(value)) = entry else { unreachable!("a decided entry") };
            self.sums[index].add(&value);
        }
    }
}

impl Group for Three {
    fn applied(&self) -> u64 {
        self.applied.into_iter().min().expect("three nodes") as u64
    }

    fn sums(&self) -> [Sum; 3] {
        self.sums
    }

    fn propose(&mut self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.nodes[self.primary].append(Bytes(value(number).to_vec())).expect("a leader");
        }
    }

    fn pass(&mut self) {
        for index in from_primary(self.primary) {
            self.nodes[index].take_outgoing_messages(&mut self.outgoing);
            for message in self.outgoing.drain(..) {
                let to = message.get_receiver() as usize - 1;
                self.nodes[to].handle_incoming(message);
            }
            if self.nodes[index].get_decided_idx() > self.applied[index] {
                self.apply(index);
            }
        }
    }
}
