//! What clients speak: one folder a surface, and one line in the table below.
//!
//! A folder has a [`SurfaceSpec`], which is its row of the table, a [`SurfaceRequest`], which is what it keeps of a body,
//! and a [`StreamWriter`]. A surface knows no upstream: it gives the hub's [`ChatRequest`], and is given blocks and
//! [`Delta`]s. Everything outside of the dialects carries a [`Surface`] along and asks its row, never which one it is.
//!
//! `anthropic.rs` is none of them: nothing is answered there, but the clients of that API get their errors in its form.

mod anthropic;
mod errors;
mod unsupported;

use std::borrow::Cow;

use bytes::BytesMut;
use events::refusal::Refusal;
use http::HeaderName;
use openapi::{Answer, Operation, Shape};
use serde_json::Value;

use super::Receipt;
use super::chat::{ChatRequest, OutputBlock};
use super::delta::Delta;
use super::facts::Facts;
use super::shared_dialect::SharedDialect;

pub use errors::{error_body, stream_error};
pub use unsupported::{Unsupported, below_version};

macro_rules! surfaces {
    ($($folder:ident => $surface:ident,)+) => {
        $(pub mod $folder;)+

        /// Where a client speaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Surface {
            $($surface,)+
        }

        impl Surface {
            pub const ALL: &[Self] = &[$(Self::$surface),+];

            /// Its row.
            pub const fn spec(self) -> &'static SurfaceSpec {
                match self {
                    $(Self::$surface => &$folder::SURFACE,)+
                }
            }
        }

        /// What is kept of a request on any surface.
        pub enum AnyRequest {
            $($surface($folder::Request),)+
        }

        impl AnyRequest {
            /// See [`SurfaceRequest::read`].
            pub fn read(surface: Surface, text: &str) -> Result<(Facts, Self), Refusal> {
                match surface {
                    $(Surface::$surface => {
                        let (facts, request) = $folder::Request::read(text)?;
                        Ok((facts, Self::$surface(request)))
                    })+
                }
            }

            /// See [`SurfaceRequest::chat`].
            pub fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
                match self {
                    $(Self::$surface(request) => request.chat(body),)+
                }
            }

            /// See [`SurfaceRequest::NEEDS_BODY`].
            pub const fn needs_body(&self) -> bool {
                match self {
                    $(Self::$surface(_) => <$folder::Request as SurfaceRequest>::NEEDS_BODY,)+
                }
            }
        }

        /// What writes one stream on any surface.
        pub enum AnyStreamWriter {
            $($surface($folder::Writer),)+
        }

        impl AnyStreamWriter {
            pub fn new(surface: Surface, head: &StreamHead<'_>) -> Self {
                match surface {
                    $(Surface::$surface => Self::$surface($folder::Writer::new(head)),)+
                }
            }

            /// See [`StreamWriter::write`].
            pub fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
                match self {
                    $(Self::$surface(writer) => writer.write(delta, out),)+
                }
            }

            /// See [`StreamWriter::close`].
            pub fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
                match self {
                    $(Self::$surface(writer) => writer.close(receipt, out),)+
                }
            }

            #[cfg(test)]
            pub fn held_bytes(&self) -> usize {
                match self {
                    $(Self::$surface(writer) => writer.held_bytes(),)+
                }
            }
        }
    };
}

surfaces! {
    native => Native,
    openai => OpenAi,
}

/// Every field that changes the cost, and that a provider's row can allow.
pub fn unpriced_fields() -> impl Iterator<Item = &'static str> {
    Surface::ALL.iter().flat_map(|surface| (surface.spec().unpriced_fields)())
}

/// A row of the table: what is particular to one surface.
pub struct SurfaceSpec {
    /// As events, traces and metrics name it.
    pub name: &'static str,
    /// Where it is asked, and the id of each operation.
    pub paths: &'static [(&'static str, &'static str)],
    /// Its clients ask at these paths and below them, whether something is there or not.
    pub roots: &'static [&'static str],
    /// Of its operations.
    pub summary: &'static str,
    /// Adds what is particular to it to the description of an operation; an answer is made of the shape of a whole one.
    pub describe: fn(Operation, fn(Shape) -> Answer) -> Operation,
    /// Fields of its requests that change the cost, and that a provider's row can allow.
    pub unpriced_fields: fn() -> Vec<&'static str>,
    /// The dialect that it shares with upstreams, so that requests and answers can go through as they are.
    pub shared_dialect: Option<SharedDialect>,
    pub error_form: ErrorForm,
    /// A whole answer.
    pub answer: fn(&[OutputBlock], &Receipt<'_>) -> Vec<u8>,
    /// An event that ends a stream with an error. The text is the request's id.
    pub put_error: fn(&Refusal, &str, &mut BytesMut),
}

/// What a surface keeps of a request.
pub trait SurfaceRequest: Sized {
    /// Whether the body is still needed when it was read.
    const NEEDS_BODY: bool;

    /// Reads a body. Errors: as [`super::ClientRequest::parse`].
    fn read(text: &str) -> Result<(Facts, Self), Refusal>;

    /// The hub's request, of the body that this was read from. Errors: `INVALID_REQUEST` for what the hub has no counterpart
    /// for.
    fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal>;
}

/// What is known of a stream before it begins.
#[derive(Clone, Copy, Debug)]
pub struct StreamHead<'a> {
    pub request_id: &'a str,
    pub frontend_model: &'a str,
    /// For events that say when they were made.
    pub created_unix_s: i64,
    /// The client asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
}

/// Writes one stream.
pub trait StreamWriter {
    fn new(head: &StreamHead<'_>) -> Self;

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut);

    /// The stream's end, once its settlement is a fact.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut);

    /// What is kept until the stream ends.
    #[cfg(test)]
    fn held_bytes(&self) -> usize;
}

/// In whose form an error is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    Native,
    OpenAi,
    Anthropic,
}

impl ErrorForm {
    /// Where its clients look for the id of a request, besides `x-request-id`.
    pub const fn request_id_header(self) -> Option<HeaderName> {
        match self {
            Self::Native | Self::OpenAi => None,
            Self::Anthropic => Some(HeaderName::from_static("request-id")),
        }
    }
}

/// Whose clients ask at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// How they are told errors.
    pub error_form: ErrorForm,
    /// Where they are counted; `None` for administration, queries, and APIs that are no surface.
    pub surface: Option<Surface>,
}

impl Audience {
    /// At any path, whether something is there or not.
    pub fn at(path: &str) -> Self {
        if let Some(audience) = unsupported::audience_of(path) {
            return audience;
        }
        let has_it = |surface: &&Surface| surface.spec().roots.iter().any(|root| is_at_or_below(path, root));
        let surface = Surface::ALL.iter().find(has_it).copied();
        Self { error_form: surface.map_or(ErrorForm::Native, |surface| surface.spec().error_form), surface }
    }
}

/// A vendor whose clients may come with its whole API in mind.
pub struct Vendor {
    pub audience: Audience,
    /// Added to what there is instead.
    pub note: &'static str,
    /// Roots below `/v1/`, and what is there. A root that ends in a slash is what is below it alone; where one is below
    /// another, the longer one stands first.
    pub unsupported: &'static [(&'static str, &'static str)],
}

/// A root that ends in a slash is not at itself.
fn is_at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root.ends_with('/'))
}

/// The same details as on the native surface. The vendors' forms have no place for them: where there are none, neither
/// has ours.
fn with_details(mut error: Value, refusal: &Refusal) -> Value {
    if let (false, Some(fields)) = (refusal.details.is_empty(), error.as_object_mut()) {
        fields.insert("details".to_owned(), Value::Object(refusal.details.clone()));
    }
    error
}
