//! How the bytes of an upstream's stream are cut into events. Server-sent events are the only framing so far; a binary one
//! is another variant here, and its parser a file beside `framing/sse.rs`.

pub mod sse;

use super::UpstreamFault;
use sse::SseParser;

pub use sse::EVENT_BYTES_MAX;

/// What a row of the upstreams says of its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
}

impl Framing {
    /// The header of a request that may be answered whole or by such a stream.
    pub const fn accept(self) -> &'static str {
        match self {
            Self::Sse => "application/json, text/event-stream",
        }
    }

    pub fn parser(self) -> FrameParser {
        match self {
            Self::Sse => FrameParser::Sse(SseParser::new()),
        }
    }
}

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// `message` where the stream does not say.
    pub name: &'a str,
    pub data: &'a str,
}

/// Cuts one stream into events.
pub enum FrameParser {
    Sse(SseParser),
}

impl FrameParser {
    /// Takes the next bytes and hands out every event that ends in them.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.feed(bytes, each),
        }
    }

    /// The stream has ended: hands out what stands there without its end.
    pub fn finish(&mut self, each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.finish(each),
        }
    }

    /// What has come of an event that is not whole.
    pub const fn buffered_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.buffered_bytes(),
        }
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.held_bytes(),
        }
    }
}
