//! What links bring: messages, ops, reports, questions.

use tracing::debug;

use crate::net::link::Arrival;

use super::Driver;

impl Driver {
    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Up(link, hello) => {
                debug!("replica {} is of generation {}", link.node, hello.generation);
                self.meet(&hello);
                self.on_link_up(link);
            }
            Arrival::Down(link) if self.is_current(&link) => self.on_link_down(link.node),
            Arrival::Paxos(link, received) if self.is_current(&link) => {
                self.on_message(link.node, &received);
            }
            Arrival::Ops(link, ops) if self.is_current(&link) => self.on_ops(link.node, ops),
            Arrival::Server(link, report) if self.is_current(&link) => {
                self.on_server_report(link.node, report);
            }
            Arrival::Asked(query, answer) => {
                let text = self.answer(query);
                answer.signal(text);
            }
            Arrival::Refused(why) => self.fail(why),
            // Of a link that another one has replaced.
            Arrival::Down(_) | Arrival::Paxos(..) | Arrival::Ops(..) | Arrival::Server(..) => {}
        }
    }
}
