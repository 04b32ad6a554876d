//! Connections to the other replicas, and to people who ask for the state.
//!
//! | file | thought |
//! |---|---|
//! | `frame` | frames on a stream (pure) |
//! | `handshake` | may the two belong to one group? (pure) |
//! | `outlet` | writing without waiting |
//! | `ops` | ops that are handed over (pure) |
//! | `message` | a message with the entries of its run (pure) |
//! | `link` | a link to one replica: connect, shake hands, carry frames, come again |
//! | `query` | asking a replica for its state, and orders |
//! | `control` | where the control socket is |

pub(crate) mod control;
pub mod frame;
pub mod handshake;
pub(crate) mod link;
pub(crate) mod message;
pub mod ops;
pub(crate) mod outlet;
pub(crate) mod query;
