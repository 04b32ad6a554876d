//! The preload library: the layer between an unmodified server program and libc.
//!
//! Each hook translates one libc call into steps of [`crane_core::execution`] and back. The rules
//! of the house:
//!
//! - The execution state belongs to the thread that holds the turn ([`turn::Held`]). No other
//!   thread touches the state, so it needs no lock.
//! - While the turn is held by a hook, nothing allocates, nothing blocks in the kernel, and no lock
//!   of the program or of libc is taken. Waiting is done by giving the turn away
//!   ([`turn::Held::wait`]). Two waits are exceptions, both bounded by half a second: for a child
//!   that is part of a computation ([`outside`]), and for a signal to the own process group.
//! - System calls are made directly ([`crane_shm::sys`]), never through libc's names, which this
//!   library defines.
//! - A thread that this library did not create, a child after fork, and a signal handler that
//!   interrupts a hook get the real call.
//!
//! | room | thought |
//! |---|---|
//! | [`start`] | from the dynamic linker to the program's first instruction |
//! | [`turn`], [`quiet`] | the part of a hook before, during and after its call |
//! | [`script`] | admission of the next entry, and the wait for it |
//! | [`membership`] | which threads take part, and whether they are in a hook |
//! | [`signals`], [`posting`] | the program's handlers, and signals that wait for a turn |
//! | [`capacities`] | the sizes of the tables |
//! | [`execution`] | the core at this library's capacities, and what threads wait for |
//! | [`world`], [`service`] | all state of the server's run; the memory that has it |
//! | [`descriptors`], [`objects`], [`numbers`] | what is behind file descriptors |
//! | [`inbox`], [`output`] | the bytes of clients, and those for them |
//! | [`file_kind`] | kinds of files |
//! | [`figures`], [`host_texts`] | the host that the server sees, and its files |
//! | [`memory`], [`maps`] | memory that processes share; the mappings |
//! | [`processors`] | the processors of its threads |
//! | [`announce`] | reports about the server to the daemon |
//! | [`unix`] | the Unix sockets among them that are bound to a path |
//! | [`deadlock`] | threads that wait for each other for ever |
//! | [`hold`] | the point at which the server stops for an image of its process |
//! | [`outside`] | objects that only the kernel knows, and the questions to it |
//! | [`timers`] | timers, for which no thread waits |
//! | [`watch`], [`readiness`] | interests in descriptors, and the answers of poll and epoll |
//! | [`notices`] | signals that tell of descriptors' readiness |
//! | [`notes`] | notes for the daemon about calls that are not covered |
//! | [`real`], [`errno`], [`cancellation`] | libc's own functions, its errors, and cancellation |
//! | [`net`] | calls that bypass the hooks |
//! | [`image`], [`bases`] | programs that are linked statically, and their threads' bases |
//! | [`clone`] | threads and children that a program makes by clone(2) |
//! | [`processes`], [`fork`], [`birth`] | the program's processes, and how they begin |
//! | [`family`], [`parents`], [`stops`] | what they hear of their parents' ends; how they stop and go on |
//! | [`trouble`] | the end of a process that cannot continue, with its reason |
//! | [`hooks`] | the libc calls themselves, by family |

#![warn(unreachable_pub, clippy::use_self, clippy::or_fun_call)]

#[macro_use]
mod real;

mod announce;
mod bases;
mod birth;
mod call;
mod caller;
mod cancellation;
mod capacities;
mod clone;
mod deadlock;
mod descriptors;
mod errno;
mod execution;
mod expirations;
mod family;
mod figures;
mod file_kind;
mod fork;
mod hold;
mod hooks;
mod host_faults;
mod host_texts;
mod image;
mod inbox;
mod inherited;
mod kept;
mod known_files;
mod maps;
mod membership;
mod memory;
mod net;
mod notes;
mod notices;
mod numbers;
mod objects;
mod output;
mod outside;
mod parents;
mod posting;
mod processes;
mod processors;
mod quiet;
mod readiness;
mod script;
mod service;
mod signals;
mod start;
mod stops;
mod successor;
mod timers;
mod trouble;
mod turn;
mod unix;
mod watch;
mod words;
mod world;
