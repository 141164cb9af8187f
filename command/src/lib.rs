//! Decides: who may come in, what administration changes, what a request may cost and who serves it; and speaks to
//! upstreams in their own dialects. Its routes are those that write.

pub mod access;
pub mod admin;
pub mod auth;
mod base62;
pub mod body;
pub mod dialects;
pub mod figures;
pub mod hex;
pub mod idempotency;
pub mod inference;
pub mod limits;
pub mod reply;
pub mod secrets;
pub mod tokens;
pub mod trace;
pub mod upstream;
