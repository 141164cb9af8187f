//! Access: authentication ([`auth`]), rate limits ([`limits`]), and the record of requests that the door refused
//! ([`rollup`]). `projections` defines callers and their reach.

pub mod auth;
pub mod limits;
pub mod rollup;
