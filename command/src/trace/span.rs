//! One span: an operation with its times and attributes.

use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The side of a call that a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Internal,
    Server,
    Client,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    Text(String),
    Texts(Vec<String>),
    Number(u64),
}

#[derive(Clone, Debug, Default)]
pub struct Span {
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub name: String,
    pub kind: Kind,
    pub begin_unix_nanos: u64,
    pub end_unix_nanos: u64,
    pub attributes: Vec<(&'static str, Attribute)>,
    pub has_failed: bool,
}

impl Span {
    pub fn begin(id: SpanId, parent: Option<SpanId>, name: &str, kind: Kind, begin_unix_nanos: u64) -> Self {
        Self { id, parent, name: name.to_owned(), kind, begin_unix_nanos, ..Self::default() }
    }

    pub fn text(&mut self, name: &'static str, value: impl Into<String>) {
        self.attributes.push((name, Attribute::Text(value.into())));
    }

    pub fn number(&mut self, name: &'static str, value: u64) {
        self.attributes.push((name, Attribute::Number(value)));
    }

    /// Marks the span as failed; `error` is one of the gateway's own reasons.
    pub fn failed(&mut self, error: &str) {
        self.text("error.type", error);
        self.has_failed = true;
    }
}
