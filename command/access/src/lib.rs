//! Access: who asks ([`auth`]), how much of the gateway each caller may use ([`limits`]), and the record of requests
//! that were turned away ([`rollup`]). What a caller is and how far it reaches is said in `projections`.

pub mod auth;
pub mod limits;
pub mod rollup;
