//! The keys by which replicas of a group, and its operators, know each other.
//!
//! A group has one *authority*, a self-signed certificate (RFC 5280). It signs one certificate for
//! each host, which binds the host's key to its name in `--peers`, and one for operators, who give
//! orders and are no replica. All cryptography is that of rustls and ring.
//!
//! | file | thought |
//! |---|---|
//! | `subject` | whom a certificate names (pure) |
//! | `file` | a key file: certificate, private key, trusted authorities |
//! | `place` | where the key file of this host is, and what to do without one |
//! | `authority` | signs certificates; is kept in a directory with the files of all hosts |
//! | `throwaway` | the keys of `--local` |
//! | `args`, `command` | `crane-linux keys` |

pub(crate) mod args;
pub(crate) mod authority;
pub(crate) mod command;
pub(crate) mod file;
pub(crate) mod place;
pub(crate) mod subject;
pub(crate) mod throwaway;
