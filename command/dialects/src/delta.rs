//! A streamed answer on its way between two dialects.

use events::event::inference::FinishReason;

/// One step of an answer that is being said, free of any dialect.
pub struct Delta<'a> {
    /// Which block of the answer it belongs to: 0, 1, 2 … in the order in which they begin.
    pub block: usize,
    pub kind: DeltaKind<'a>,
}

pub enum DeltaKind<'a> {
    Text(&'a str),
    Reasoning(&'a str),
    /// Proves the thought that it follows.
    Signature(&'a str),
    /// A thought that the provider gave encrypted.
    Redacted(&'a str),
    /// `ordinal`: 0, 1, 2 … among the answer's calls.
    CallBegins {
        ordinal: usize,
        id: &'a str,
        name: &'a str,
    },
    CallArguments {
        ordinal: usize,
        piece: &'a str,
    },
    Finish(FinishReason),
}
