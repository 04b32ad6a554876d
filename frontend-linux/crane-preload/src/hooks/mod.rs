//! The libc calls, by family. A hook is short: begin, ask the state machine or the real function,
//! wait and ask again, end.

mod barrier;
pub(crate) mod cancel;
mod condition;
mod epoll;
mod exec;
mod files;
mod futex;
mod handlers;
mod lock;
pub(crate) mod lookup;
mod mutex;
mod names;
mod numbered;
mod once;
mod options;
mod parts;
mod pipes;
mod poll;
mod process;
mod random;
mod rwlock;
mod semaphore;
mod shared;
mod signals;
mod sigwait;
mod sleep;
mod sockets;
mod spawn;
mod splice;
mod stdio;
mod stream;
pub(crate) mod threads;
mod time;
mod transfer;
