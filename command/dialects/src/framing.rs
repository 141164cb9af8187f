//! Framings: how an upstream's stream is divided into events. Server-sent events are the only framing so far. Another
//! one is a variant here, with its parser in a file beside `framing/sse.rs`.

pub mod sse;

use super::UpstreamFault;
use sse::SseParser;

pub use sse::EVENT_BYTES_MAX;

/// The framing of an upstream's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
}

impl Framing {
    /// `Accept` header of a request that may be answered whole or as a stream.
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
    /// `message` if the stream does not name it.
    pub name: &'a str,
    pub data: &'a str,
}

/// Divides one stream into events.
pub enum FrameParser {
    Sse(SseParser),
}

impl FrameParser {
    /// Reads the next bytes, and calls `each` for every event that ends in them.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.feed(bytes, each),
        }
    }

    /// Handles the end of the stream: calls `each` for a last event without its end.
    pub fn finish(&mut self, each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.finish(each),
        }
    }

    /// Bytes received of an incomplete event.
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
