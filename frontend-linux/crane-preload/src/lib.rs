//! Hooks (see the modules).
