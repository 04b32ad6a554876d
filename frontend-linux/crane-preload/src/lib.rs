//! The preload library: the layer between an unmodified server program and libc.
//!
//! Each hook translates one libc call into steps of [`crane_core::execution`] and back. The rules
//! of the house:
//!
//! - The execution state belongs to the thread that holds the turn ([`turn::Held`]); no other
//!   touches it, so it needs no lock.
//! - While the turn is held by a hook, nothing allocates, nothing blocks in the kernel, and no lock
//!   of the program or of libc is taken. Waiting is done by giving the turn away
//!   ([`turn::Held::wait`]).
//! - The kernel is asked directly ([`crane_shm::sys`]), never through libc's names, which are ours.
//! - A thread that we did not create, a child after fork, and a signal handler that interrupts a
//!   hook get the real call.
//!
//! | room | thought |
//! |---|---|
//! | [`start`] | from the dynamic linker to the program's first instruction |
//! | [`turn`] | taking part: before, while and after a call |
//! | [`script`] | the next entry, or waiting for one |
//! | [`membership`] | which threads take part, and whether they are in a hook |
//! | [`signals`], [`posting`] | handlers of the program, and signals that wait for their thread's turn |
//! | [`execution`] | the core at this library's capacities, and what threads wait for |
//! | [`world`] | all state of the server's run |
//! | [`descriptors`], [`inbox`], [`output`] | what is behind file descriptors |
//! | [`outside`] | what only the kernel knows, and when it is asked |
//! | [`timers`] | what agreed time brings without a thread that waits for it |
//! | [`watch`], [`readiness`] | who waits for which of them, and what poll and epoll answer |
//! | [`notes`] | what the daemon is to know of calls that are not covered |
//! | [`real`], [`errno`], [`cancellation`] | libc's own functions, how it reports, who may end |
//! | [`trouble`] | how a process that cannot go on ends, and says why |
//! | [`hooks`] | the libc calls themselves, by family |

#![warn(unreachable_pub, clippy::use_self, clippy::or_fun_call)]

#[macro_use]
mod real;

mod caller;
mod cancellation;
mod descriptors;
mod errno;
mod execution;
mod expirations;
mod hooks;
mod inbox;
mod kept;
mod membership;
mod notes;
mod output;
mod outside;
mod posting;
mod readiness;
mod script;
mod signals;
mod start;
mod successor;
mod timers;
mod trouble;
mod turn;
mod watch;
mod words;
mod world;
