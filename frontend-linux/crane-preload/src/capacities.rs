//! How much there may be of each thing at a time. Tables are touched as they are used, so a large
//! number costs a small program nothing.

/// Threads of the server.
pub(crate) const THREADS: usize = 1024;
/// Processes of the server.
pub(crate) const PROCESSES: usize = 1024;
/// Connections.
pub(crate) const CONNECTIONS: usize = 1 << 16;
/// Listening sockets.
pub(crate) const LISTENERS: usize = 64;
/// Descriptors that can be followed; higher numbers get the real calls.
pub(crate) const DESCRIPTORS: usize = 1 << 17;
/// Descriptions: all connections, and as many others. Fewer in unit tests, which have them on the
/// stack.
pub(crate) const DESCRIPTIONS: usize = if cfg!(test) { 1 << 8 } else { 2 * CONNECTIONS };
/// Interests of all epoll instances together: one for each description.
pub(crate) const INTERESTS: usize = DESCRIPTIONS;
