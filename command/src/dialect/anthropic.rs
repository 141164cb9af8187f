//! Anthropic Messages, version 2023-06-01, as an upstream.

mod answer;
mod outbound;
mod schema;
mod stream;
mod usage;

pub(super) use answer::read_blocks;
pub(super) use outbound::request_body;
pub(super) use stream::Reader;
pub(super) use usage::reported;
