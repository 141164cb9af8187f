//! Upstreams to put behind the gateway. There are four, because none can replace the others:
//!
//! - [`MockUpstream`] behaves as the request's model says, well or badly, records the requests, and also speaks HTTP/2 over
//!   TLS. It uses a server library and makes each response on request, which is too slow for benches.
//! - [`PreparedUpstream`](prepared::PreparedUpstream) is for benches, on the same cores as the gateway: it sends bytes that were
//!   made once, on one thread. It has seven behaviours and records nothing.
//! - [`UpstreamByHand`] is driven by the test, byte by byte: no server library can leave a body unread, or send half a head.
//! - [`SampleUpstream`] answers as any family of providers does, with the golden samples, whole or spoiled.
//!
//! The second and the third read requests with [`http1`](crate::http1), as the clients read responses.

mod by_hand;
pub(crate) mod mock;
pub mod prepared;
mod samples;

pub use by_hand::{Call, UpstreamByHand};
pub use mock::{CERTIFICATE, CODE, Chaos, MESSAGE, MockUpstream, PARAM, Seen, TEXT, google, stream_acceptor};
pub use samples::SampleUpstream;
