//! Framings: how an upstream's stream is divided into events.

pub mod event_stream;
pub mod lines;
pub mod sse;

use event_stream::EventStreamParser;
use lines::LineParser;
use sse::SseParser;

use crate::UpstreamFault;

/// Bytes of one event, names and line ends included. A longer one is a fault: no model sends so much at once, and the
/// buffer must be bounded.
pub const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The framing of an upstream's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// Newline-delimited JSON.
    Lines,
    /// `application/vnd.amazon.eventstream`: binary frames.
    EventStream,
}

impl Framing {
    /// `Accept` header of a request that may be answered whole or as a stream.
    pub const fn accept(self) -> &'static str {
        match self {
            Self::Sse => "application/json, text/event-stream",
            Self::Lines => "application/json, application/x-ndjson",
            Self::EventStream => "application/json, application/vnd.amazon.eventstream",
        }
    }

    pub fn parser(self) -> FramingParser {
        match self {
            Self::Sse => FramingParser::Sse(SseParser::default()),
            Self::Lines => FramingParser::Lines(LineParser::default()),
            Self::EventStream => FramingParser::EventStream(EventStreamParser::default()),
        }
    }
}

/// One event of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// `message` if the stream does not name it.
    pub name: &'a str,
    pub data: &'a str,
    /// The framing says that it is an error, whatever its data.
    pub is_error: bool,
}

/// The parser of a framing.
pub enum FramingParser {
    Sse(SseParser),
    Lines(LineParser),
    EventStream(EventStreamParser),
}

impl FramingParser {
    /// Reads the next bytes, and calls `each` for every event that ends in them.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>,
    ) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.feed(bytes, each),
            Self::Lines(parser) => parser.feed(bytes, each),
            Self::EventStream(parser) => parser.feed(bytes, each),
        }
    }

    /// Handles the end of the stream: calls `each` for a last event that lacks its end.
    pub fn finish(&mut self, each: impl FnMut(Event<'_>) -> Result<(), UpstreamFault>) -> Result<(), UpstreamFault> {
        match self {
            Self::Sse(parser) => parser.finish(each),
            Self::Lines(parser) => parser.finish(each),
            Self::EventStream(parser) => parser.finish(),
        }
    }

    /// Bytes received of an answer: those of data, whether their event is complete or not. Comments, blank lines and events
    /// without data are none.
    pub const fn answer_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.answer_bytes(),
            Self::Lines(parser) => parser.answer_bytes(),
            Self::EventStream(parser) => parser.answer_bytes(),
        }
    }

    /// Bytes received of an incomplete event.
    pub const fn buffered_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.buffered_bytes(),
            Self::Lines(parser) => parser.buffered_bytes(),
            Self::EventStream(parser) => parser.buffered_bytes(),
        }
    }

    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Sse(parser) => parser.held_bytes(),
            Self::Lines(parser) => parser.held_bytes(),
            Self::EventStream(parser) => parser.held_bytes(),
        }
    }
}
