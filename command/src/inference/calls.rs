//! The calls of a request, from target to target, until one has something to relay.

pub mod answer_permit;
pub mod call;
pub mod calls_at_target;
pub mod hedging;
pub mod last_look;
pub mod request_source;
pub mod target_call;
pub mod target_sequence;
pub mod whole;
