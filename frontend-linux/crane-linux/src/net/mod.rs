//! Connections to the other replicas, and to people who ask for the state.
//!
//! | file | thought |
//! |---|---|
//! | `frame` | frames on a stream (pure) |
//! | `handshake` | may the two belong to one group? (pure) |
//! | `reading`, `session`, `outlet` | reading, encrypting and writing without waiting |
//! | `explain`, `wire`, `tls` | a stream with or without TLS; who is at its other end |
//! | `ops` | ops that are handed over (pure) |
//! | `message` | a message with the entries of its run (pure) |
//! | `first` | the first frames of a connection |
//! | `link` | a link to one replica: carries frames |
//! | `strangers` | what those may cost who have not shown who they are |
//! | `peers` | all links: connect, shake hands, come again; the peer port |
//! | `query` | asking a replica for its state, and orders |
//! | `control` | the control socket |

pub(crate) mod control;
mod explain;
pub(crate) mod first;
pub mod frame;
pub mod handshake;
pub(crate) mod link;
pub(crate) mod message;
pub mod ops;
pub(crate) mod outlet;
pub(crate) mod peers;
pub(crate) mod query;
pub(crate) mod reading;
mod session;
pub(crate) mod strangers;
pub(crate) mod tls;
pub(crate) mod wire;
