//! Counts of rate limits that several nodes share, in Redis. One script decides a request under all limits that bind it, in one
//! round trip, by the server's clock. This crate sends it and reads its answers; when to ask it, and what holds while Redis is
//! away, is decided in `access_control`.
//!
//! No money is ever in Redis, and nothing in it is needed to know what was admitted: the log has that.

mod address;
mod call;
mod connection;
mod error;
mod reply;

pub use address::{AddressError, RedisAddress};
pub use call::{BucketState, Correction, Count, LimitCall, LimitState, WindowState};
pub use connection::CounterConnection;
pub use error::{CounterError, CounterErrorKind};
pub use reply::{Answer, CountReply, Shortage, Standing};
