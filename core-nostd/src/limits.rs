//! Every capacity of the core, in one place, with the relations that must hold between them.

/// The number of members that a group may have.
pub const NODES_MAX: usize = 7;

/// The number of incarnations that a group's server may have.
pub const INCARNATIONS_MAX: u32 = 1 << 20;

/// The number of bytes of one encoded entry, which is what is accepted in one slot.
pub const ENTRY_BYTES_MAX: usize = 128 * 1024;

/// The number of bytes of data in one `Send` op. Longer data is cut into several ops.
pub const SEND_BYTES_MAX: usize = 16 * 1024;

/// The number of ops in one entry.
pub const ENTRY_OPS_MAX: usize = 1024;

/// The number of bytes of an op beside its data: tag, connection, offset, two addresses, length.
pub const OP_HEADER_BYTES_MAX: usize = 96;

/// The number of bytes of an entry beside its ops: timestamp, grant, number of ops.
pub const ENTRY_HEADER_BYTES_MAX: usize = 32;

/// The number of bytes of a member's address as text (`host:port`).
pub const ADDRESS_BYTES_MAX: usize = 128;

/// The number of bytes of a server's command in an op.
pub const COMMAND_BYTES_MAX: usize = 8 * 1024;

/// The highest number of a signal (signal(7)).
pub const SIGNAL_MAX: u8 = 64;

/// Addresses that a server may bind although not every host has them.
pub const SERVICE_ADDRESSES_MAX: usize = 16;

/// The number of processors that a server may see: as many as a mask of libc's (`cpu_set_t`) has.
pub const PROCESSORS_MAX: u32 = 1024;

/// The number of bytes per connection that a client may have sent and the server has not read yet.
/// The entry replica stops reading from its client at this limit, so no replica ever holds more.
pub const RECEIVE_WINDOW: usize = 64 * 1024;

/// The number of bytes per connection that a server may have written and the entry replica has not
/// reported as drained. The result of `send` depends on this number and on `Drained` ops only.
pub const SEND_WINDOW: usize = 256 * 1024;

/// The entry replica reports drained bytes in steps of this size.
pub const DRAINED_STEP: usize = SEND_WINDOW / 2;

/// The nanoseconds by which agreed time advances with each call: less than a call really costs,
/// because otherwise the clock of a busy server would run ahead of the world.
pub const CALL_NANOSECONDS: u64 = 100;

const _: () =
    assert!(SEND_BYTES_MAX + OP_HEADER_BYTES_MAX + ENTRY_HEADER_BYTES_MAX <= ENTRY_BYTES_MAX);
const _: () = assert!(SEND_BYTES_MAX <= RECEIVE_WINDOW);
const _: () = assert!(COMMAND_BYTES_MAX <= SEND_BYTES_MAX);
const _: () = assert!(DRAINED_STEP < SEND_WINDOW);
const _: () = assert!(NODES_MAX <= u8::MAX as usize);
