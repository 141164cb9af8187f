//! Upstreams to put behind the gateway. Three fronts, because no one of them can be the others:
//!
//! - [`MockUpstream`] behaves as the request's model says, well and badly, keeps what it was sent, and speaks HTTP/2 over TLS
//!   as well. A server library carries it: what it answers is made for each request, which costs more than a measured
//!   gateway leaves room for.
//! - [`PreparedUpstream`](prepared::PreparedUpstream) stands beside what is measured, on the same cores: bytes that were made
//!   once, on one thread. It knows five ways of answering and keeps nothing.
//! - [`UpstreamByHand`] does nothing that the test does not tell it to, down to the byte: no server library leaves a body
//!   unread, or half a head sent.
//!
//! The last two read requests with [`http1`](crate::http1), as the clients read answers.

mod by_hand;
mod mock;
pub mod prepared;

pub use by_hand::{Call, UpstreamByHand};
pub use mock::{CERTIFICATE, CODE, Chaos, MESSAGE, MockUpstream, PARAM, Seen, TEXT};
