//! Anthropic Messages, version 2023-06-01, as an upstream.

mod answer;
mod outbound;
mod schema;
mod stream;
mod usage;

pub use answer::read_blocks;
pub use outbound::request_body;
pub use stream::Reader;
pub use usage::reported;
