//! The memory that the daemon and the server's process share: a file that both map.
//!
//! Only plain numbers and bytes live here (`repr(C)`, atomics): the two sides are compiled
//! separately and need not agree on anything else. The daemon writes the *script ring* (committed
//! entries, in slot order) and reads the *output ring*; the preload library does the reverse.
//! Neither ever waits for the other while it holds something that the other needs.
//!
//! | room | thought |
//! |---|---|
//! | [`DaemonSide`], [`ServerSide`] | the values that each side may read and write |
//! | [`region`] | the layout of the file, and how it is created and opened |
//! | [`table`] | what becomes of each system call |
//! | [`HOLD_SOCKET, REGION_PLACE, SERVICE_PLACE`] | how a server stops for an image of its process |
//! | [`history`] | the latest calls and hashes of the server, for comparison |
//! | [`ring`] | records of bytes from one writer to one reader |
//! | [`parking`] | how one side sleeps and the other wakes it |
//! | [`sys`] | system calls without libc, which no hook intercepts |

#![warn(unreachable_pub, clippy::use_self, clippy::or_fun_call)]

mod bypass;
mod calls;
mod caught;
mod daemon;
pub mod history;
mod hold;
pub mod parking;
pub mod region;
pub mod ring;
mod server;
pub mod sys;
pub mod table;

pub use bypass::{BYPASSES, Bypass, BypassKind};
pub use calls::call_name;
pub use daemon::DaemonSide;
pub use history::{BlockHash, CallRecord, HashMark};
pub use hold::{HOLD_SOCKET, REGION_PLACE, SERVICE_PLACE};
pub use region::{EndReason, ServerState};
pub use ring::{RingError, RingReader, RingRecord, RingWriter};
pub use server::ServerSide;
