//! Making the calls of a request, from target to target, until one has something to relay. The type `Call` is in `running/call.rs`.

pub mod answer_permit;
mod begin_call;
pub mod calls_at_target;
pub mod hedging;
mod inflating;
pub mod last_look;
pub mod request_source;
pub mod target_call;
pub mod target_sequence;
pub mod upstream_response;
pub mod whole;
mod yield_to_runtime;
