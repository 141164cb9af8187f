//! The settlement of a request, as surfaces report it.

use bytes::Bytes;
use events::money::NanoUsd;
use events::usage::Usage;

use crate::FinishReason;

/// Facts that only the pipeline knows and the end of a response reports.
#[derive(Clone, Copy, Debug)]
pub struct Receipt<'a> {
    pub request_id: &'a str,
    pub frontend_model: &'a str,
    pub provider: &'a str,
    pub backend_model: &'a str,
    pub usage: &'a Usage,
    pub cost_usd: NanoUsd,
    pub price_version: u64,
    pub admitted_position: u64,
    pub settled_position: u64,
    pub held_usd: NanoUsd,
    pub finish_reason: FinishReason,
    /// The part of the request that the response repeats: members of a JSON object, or nothing.
    pub echo: &'a Bytes,
}
