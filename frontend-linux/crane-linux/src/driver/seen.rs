//! Facts about the running server that its host sees from outside.

/// The thread of the server that has the turn, and its activity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inspection {
    /// The thread's number in the cell; 0 for the first thread.
    pub thread: u32,
    /// The thread's name.
    pub name: String,
    /// The thread's activity.
    pub activity: Activity,
    /// The place in the program: a symbol and its file.
    pub place: Option<String>,
}

/// A kind of call that no hook sees.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bypassed {
    /// Its name.
    pub call: String,
    /// Its number, and the address behind the instruction that makes it.
    pub number: u32,
    pub address: u64,
    /// Where it is made: a symbol and its file.
    pub place: Option<String>,
    /// A function of libc makes it.
    pub by_libc: bool,
    /// For which place of the program libc makes it.
    pub caller: Option<String>,
    /// It was not made, and its thread waits for its end (`--strict`).
    pub refused: bool,
}

/// A kernel socket on which a process of the cell listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Unannounced {
    /// The port.
    pub port: u16,
    /// The name of the process, if it could be found.
    pub owner: Option<String>,
}

/// The activity of a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Activity {
    /// The thread uses the processor.
    Computes,
    /// The thread waits in this system call.
    InCall(String),
}

/// Facts about the server's cell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SeenCell {
    /// The listeners in it that use a socket of the kernel.
    pub listeners: Vec<Unannounced>,
    /// The directories of its file systems in memory that are full, without the first slash.
    pub full: Vec<&'static str>,
}
