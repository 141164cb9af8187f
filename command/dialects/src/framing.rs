//! Framings: how an upstream's stream is divided into events. Server-sent events are the only framing so far.

pub mod sse;

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

    pub fn parser(self) -> SseParser {
        match self {
            Self::Sse => SseParser::default(),
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
