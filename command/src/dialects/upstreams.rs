//! What upstreams speak, one folder a dialect.

pub mod anthropic;
pub mod openai;
mod refusal;
mod rejection;
pub mod simulator;

pub use refusal::{
    REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, UpstreamRefusal, UpstreamRefusalKind, in_band, is_out_of_money, read_refusal,
};
pub use rejection::{Rejection, UpstreamWords};
