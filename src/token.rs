//! The session's token: what it says, and never what it is.
