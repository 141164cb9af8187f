//! The answer on its way to the client.

mod expiring_slot;
pub mod stream;
pub mod whole_body;
