//! The shortcut between an upstream and the surface of the same dialect: bytes go on as they came, but for what has to be
//! edited in them. Everything else goes through the hub.

pub mod openai;
mod renaming;
