//! Decides: who may come in, what administration changes, what a request may cost and who serves it; and speaks to
//! upstreams in their own dialects. Its routes are those that write.

pub mod admin;
pub mod body;
pub mod figures;
pub mod idempotency;
pub mod inference;
pub mod reply;
pub mod tokens;
pub mod trace;
