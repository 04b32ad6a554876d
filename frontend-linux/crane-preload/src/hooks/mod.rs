//! The libc calls, by family. A hook is short: begin, ask the state machine or the real function,
//! wait and ask again, end.

mod barrier;
pub(crate) mod cancel;
mod condition;
mod epoll;
mod exec;
mod files;
mod lock;
pub(crate) mod lookup;
mod mutex;
mod names;
mod once;
mod pipes;
mod poll;
mod process;
mod random;
mod rwlock;
mod semaphore;
mod signals;
mod sleep;
mod sockets;
mod stdio;
mod stream;
pub(crate) mod threads;
mod time;
mod transfer;
