//! What tests and benches share: upstreams to put behind the gateway, and connections to put in front of it.
//!
//! Nothing that is shipped depends on this crate. Whatever speaks HTTP/1.1 as bytes reads it with [`http1`], clients and
//! upstreams alike; what a test has to say about an answer it says with a client of its own.

pub mod blocking;
pub mod http1;
pub mod request;
pub mod upstream;
pub mod wire;
