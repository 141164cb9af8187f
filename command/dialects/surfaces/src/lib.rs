//! Surfaces: the APIs that clients speak. Each has a folder, and a line in the table below: those for
//! chat first, then the one for embeddings.
//!
//! A folder has a [`SurfaceSpec`], its row of the table; a [`SurfaceRequest`], the part of a body that it keeps; and a
//! [`StreamWriter`]. A surface knows no upstream: it reads a body into the intermediate form's [`ChatRequest`], and writes
//! [`AnswerChoice`]s and [`Delta`]s. Other crates pass a [`Surface`] along and read its row; they never match on it.
//!
//! Embeddings have neither choices nor streams: their request and their answer have types of their own.

mod described;
mod documents;
mod errors;
mod ids;
mod known;
pub mod priceable;
#[cfg(test)]
mod receipts;
mod rejected_field;
pub mod sse;
mod unsupported;

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use events::refusal::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue};
use intermediate::chat::{AnswerChoice, ChatRequest, Feature};
use intermediate::delta::Delta;
use intermediate::facts::Facts;
use intermediate::shared_dialect::SharedDialect;
use intermediate::{Api, Receipt};
use openapi::{Answer, Operation, Shape};
use serde_json::Value;

pub use errors::{error_body, stream_error};
/// The error format of the list of models, which is OpenAI's.
pub use openai::WORDING as MODELS_WORDING;
pub use rejected_field::with_client_field;
pub use unsupported::{Unsupported, below_version};

macro_rules! surfaces {
    (
        $($folder:ident => $surface:ident,)+;
        $embeddings_folder:ident => $embeddings:ident,
    ) => {
        $(pub mod $folder;)+
        pub mod $embeddings_folder;

        /// An API that clients speak.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Surface {
            $($surface,)+
            $embeddings,
        }

        impl Surface {
            pub const ALL: &[Self] = &[$(Self::$surface,)+ Self::$embeddings];

            /// Those for chat.
            pub const CHAT: &[Self] = &[$(Self::$surface),+];

            /// Its row of the table.
            pub const fn spec(self) -> &'static SurfaceSpec {
                match self {
                    $(Self::$surface => &$folder::SURFACE,)+
                    Self::$embeddings => &$embeddings_folder::SURFACE,
                }
            }

            /// True if its clients can ask for a stream.
            pub const fn can_stream(self) -> bool {
                matches!(self.api(), Api::Chat)
            }

            /// The API of upstreams that its requests need.
            pub const fn api(self) -> Api {
                match self {
                    $(Self::$surface => Api::Chat,)+
                    Self::$embeddings => Api::Embeddings,
                }
            }
        }

        /// A parsed request of any surface, by the API that it needs.
        pub enum ParsedRequest {
            Chat(AnyRequest),
            Embeddings($embeddings_folder::Request),
        }

        impl ParsedRequest {
            /// See [`SurfaceRequest::read`].
            pub fn read(surface: Surface, text: &str) -> Result<(Facts, Self), Refusal> {
                match surface {
                    $(Surface::$surface => {
                        let (facts, request) = $folder::Request::read(text)?;
                        Ok((facts, Self::Chat(AnyRequest::$surface(request))))
                    })+
                    Surface::$embeddings => {
                        let (facts, request) = $embeddings_folder::Request::read(text)?;
                        Ok((facts, Self::Embeddings(request)))
                    }
                }
            }
        }

        /// A parsed chat request of any surface.
        pub enum AnyRequest {
            $($surface($folder::Request),)+
        }

        impl AnyRequest {
            /// See [`SurfaceRequest::chat`].
            pub fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
                match self {
                    $(Self::$surface(request) => request.chat(body),)+
                }
            }

            /// See [`SurfaceRequest::client_field`].
            pub fn client_field(&self, field: &str, body: &[u8]) -> Option<String> {
                match self {
                    $(Self::$surface(request) => request.client_field(field, body),)+
                }
            }

            /// See [`SurfaceRequest::echo`].
            pub fn echo(&self) -> Bytes {
                match self {
                    $(Self::$surface(request) => request.echo(),)+
                }
            }
        }

        /// A stream writer of any surface.
        pub enum AnyStreamWriter {
            $($surface($folder::Writer),)+
            /// For a surface without streams.
            Silent,
        }

        impl AnyStreamWriter {
            pub fn new(surface: Surface, head: &StreamHead<'_>) -> Self {
                match surface {
                    $(Surface::$surface => Self::$surface($folder::Writer::new(head)),)+
                    Surface::$embeddings => Self::Silent,
                }
            }

            /// See [`StreamWriter::write`].
            pub fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
                match self {
                    $(Self::$surface(writer) => writer.write(delta, out),)+
                    Self::Silent => {}
                }
            }

            /// See [`StreamWriter::close`].
            pub fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut) {
                match self {
                    $(Self::$surface(writer) => writer.close(receipt, out),)+
                    Self::Silent => {}
                }
            }

            /// See [`StreamWriter::kept_bytes`].
            pub fn kept_bytes(&self) -> usize {
                match self {
                    $(Self::$surface(writer) => writer.kept_bytes(),)+
                    Self::Silent => 0,
                }
            }

            /// See [`StreamWriter::bytes_to_come`].
            pub fn bytes_to_come(&self) -> usize {
                match self {
                    $(Self::$surface(writer) => writer.bytes_to_come(),)+
                    Self::Silent => 0,
                }
            }

            /// See [`StreamWriter::events`].
            pub fn events(&self) -> u64 {
                match self {
                    $(Self::$surface(writer) => writer.events(),)+
                    Self::Silent => 0,
                }
            }

            pub fn held_bytes(&self) -> usize {
                match self {
                    $(Self::$surface(writer) => writer.held_bytes(),)+
                    Self::Silent => 0,
                }
            }
        }
    };
}

surfaces! {
    native => Native,
    openai => OpenAi,
    anthropic => Anthropic,
    responses => Responses,
    completions => Completions,
    ;
    openai_embeddings => OpenAiEmbeddings,
}

impl Surface {
    /// The client's name of the field that has its prompt.
    pub const fn prompt_field(self) -> &'static str {
        match self {
            Self::Native | Self::OpenAi | Self::Anthropic => "messages",
            Self::Responses | Self::OpenAiEmbeddings => "input",
            Self::Completions => "prompt",
        }
    }
}

/// Every field that changes the cost and that a provider's row can allow, each once.
pub fn unpriced_fields() -> impl Iterator<Item = &'static str> {
    let names = Surface::ALL.iter().flat_map(|surface| (surface.spec().unpriced_fields)());
    names.collect::<BTreeSet<_>>().into_iter()
}

/// A row of the table: the properties of one surface.
pub struct SurfaceSpec {
    /// Name in events, traces and metrics.
    pub name: &'static str,
    /// Its paths, each with its operation id.
    pub paths: &'static [(&'static str, &'static str)],
    /// Its clients' paths: at and below these, every error has its form, also a 404.
    pub roots: &'static [&'static str],
    /// Summary of its operations.
    pub summary: &'static str,
    /// Completes the description of an operation. The function given makes a response of the shape of a whole one.
    pub describe: fn(Operation, fn(Shape) -> Answer) -> Operation,
    /// Fields that change the cost and that a provider's row can allow.
    pub unpriced_fields: fn() -> Vec<&'static str>,
    /// Reads the headers that have a meaning in its dialect. Errors: `INVALID_REQUEST` for a value that has none.
    pub read_headers: fn(&HeaderMap) -> Result<RequestHeaders, Refusal>,
    /// The dialect that it shares with upstreams, for the shortcut past the intermediate form.
    pub shared_dialect: Option<SharedDialect>,
    pub error_form: ErrorForm,
    /// True if a body is still needed after it was read.
    pub keeps_body: bool,
    /// True if a response can say that it ended with an error. On the others such a response would look like a good one,
    /// so that it is an error.
    pub has_error_reason: bool,
    /// Writes a whole response to a chat.
    pub answer: fn(&[AnswerChoice], &Receipt<'_>) -> Vec<u8>,
    /// The client's name for a feature; `None` if requests of this surface never have it.
    pub field_of: fn(Feature) -> Option<&'static str>,
    /// Writes the event that ends a stream with an error.
    pub put_error: fn(&Refusal, &BrokenStream<'_>, &mut BytesMut),
    /// The bytes sent to a client of a stream that has heard nothing for a while: nothing that it shows or counts.
    pub keep_alive: &'static str,
}

/// A comment: parsers of event streams ignore it.
const KEEP_ALIVE_COMMENT: &str = ": keep-alive\n\n";

/// The headers of a request that have a meaning in its dialect.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders {
    /// Headers for upstreams of the same dialect, as the client gave them.
    pub(crate) forwarded: Vec<(HeaderName, HeaderValue)>,
    /// The values of one of them that go only to providers that allow them.
    pub(crate) withheld: Option<WithheldValues>,
}

/// Values of a header that may change the price.
#[derive(Clone, Debug)]
pub(crate) struct WithheldValues {
    /// The header's name.
    name: &'static str,
    /// Header and value of each, for the client.
    said: Vec<String>,
    /// The header without them; `None` if nothing is left of it.
    rest: Option<HeaderValue>,
}

impl RequestHeaders {
    /// The names of those that ask for something, and go to upstreams of the same dialect alone.
    pub fn not_translated(&self) -> Option<&'static str> {
        self.forwarded.iter().any(|(name, _)| name == anthropic::BETA).then_some(anthropic::BETA)
    }

    /// The headers for upstreams of the same dialect, as the client gave them.
    pub fn forwarded(&self) -> &[(HeaderName, HeaderValue)] {
        &self.forwarded
    }

    /// The headers that go on to an upstream of the same dialect whose provider allows these fields.
    pub fn forwarded_to(&self, allowed_fields: &BTreeSet<String>) -> Vec<(HeaderName, HeaderValue)> {
        let withheld = self.withheld.as_ref().filter(|_| !allowed_fields.contains(anthropic::BETA_FIELD));
        let sent = |(name, value): &(HeaderName, HeaderValue)| match withheld {
            Some(withheld) if name == withheld.name => withheld.rest.clone().map(|rest| (name.clone(), rest)),
            _ => Some((name.clone(), value.clone())),
        };
        self.forwarded.iter().filter_map(sent).collect()
    }

    /// Header and value of what such an upstream is not sent.
    pub fn withheld_from(&self, allowed_fields: &BTreeSet<String>) -> &[String] {
        let withheld = self.withheld.as_ref().filter(|_| !allowed_fields.contains(anthropic::BETA_FIELD));
        withheld.map_or(&[], |withheld| &withheld.said)
    }
}

/// The headers of a surface whose dialect has none.
fn no_headers(_: &HeaderMap) -> Result<RequestHeaders, Refusal> {
    Ok(RequestHeaders::default())
}

/// A surface's operation that counts the tokens of a prompt, without a response.
pub struct TokenCounting {
    pub path: &'static str,
    /// Its operation id.
    pub operation: &'static str,
    /// Completes the description of the operation.
    pub describe: fn(Operation) -> Operation,
}

impl Surface {
    fn serves(self, path: &str) -> bool {
        self.spec().paths.iter().any(|(served, _)| *served == path)
    }

    /// Its operation that counts tokens, if it has one.
    pub fn token_counting(self) -> Option<&'static TokenCounting> {
        (self == Self::Anthropic).then_some(&anthropic::COUNTING)
    }
}

/// A parsed chat request of a surface.
pub trait SurfaceRequest: Sized {
    /// Reads a body. Errors: those of `dialects::ClientRequest::parse`.
    fn read(text: &str) -> Result<(Facts, Self), Refusal>;

    /// The intermediate form's request; `body` is the one that this was read from. Errors: `INVALID_REQUEST` for a field that has no
    /// counterpart in the intermediate form.
    fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal>;

    /// The client's name for a field that is refused, of the intermediate form or as its surface calls the feature; `None` if it is the
    /// same. `body`: see [`Self::chat`].
    fn client_field(&self, _field: &str, _body: &[u8]) -> Option<String> {
        None
    }

    /// Returns the part of the request that the response repeats: members of a JSON object, on one line. Most dialects
    /// repeat nothing.
    fn echo(&self) -> Bytes {
        Bytes::new()
    }
}

/// The properties of a stream that are known before it begins.
#[derive(Clone, Copy, Debug)]
pub struct StreamHead<'a> {
    pub request_id: &'a str,
    pub frontend_model: &'a str,
    /// Creation time, for events that have one.
    pub created_unix_s: i64,
    /// The client asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
    /// See [`SurfaceRequest::echo`].
    pub echo: &'a Bytes,
}

/// A stream that an error ends.
#[derive(Clone, Copy, Debug)]
pub struct BrokenStream<'a> {
    pub request_id: &'a str,
    /// Events that were written before, for dialects that number them.
    pub events: u64,
}

/// Writes one stream.
pub trait StreamWriter {
    fn new(head: &StreamHead<'_>) -> Self;

    fn write(&mut self, delta: &Delta<'_>, out: &mut BytesMut);

    /// Writes the end of the stream, once its settlement is recorded.
    fn close(&self, receipt: &Receipt<'_>, out: &mut BytesMut);

    /// Bytes of the response that are kept for a later event, for dialects that repeat them.
    fn kept_bytes(&self) -> usize {
        0
    }

    /// About how many bytes later events add for what has been written.
    fn bytes_to_come(&self) -> usize {
        0
    }

    /// Events written so far, for dialects that number them.
    fn events(&self) -> u64 {
        0
    }

    /// Bytes of memory that the stream takes.
    fn held_bytes(&self) -> usize;
}

/// The format of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorForm {
    Native,
    OpenAi,
    Anthropic,
}

impl ErrorForm {
    /// The header besides `x-request-id` in which its clients expect the request's id.
    pub const fn request_id_header(self) -> Option<HeaderName> {
        match self {
            Self::Native | Self::OpenAi => None,
            Self::Anthropic => Some(HeaderName::from_static("request-id")),
        }
    }
}

/// The clients that call a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    /// The format of their errors.
    pub error_form: ErrorForm,
    /// The surface that their requests count for; `None` for administration, queries, and APIs that are not a surface.
    pub surface: Option<Surface>,
}

impl Audience {
    /// The audience of any path, also of one that does not exist.
    pub fn at(path: &str) -> Self {
        // Nearly every request is for a path that is served.
        if let Some(surface) = Surface::ALL.iter().find(|surface| surface.serves(path)) {
            return Self::of(Some(*surface));
        }
        let path = &*unsupported::with_one_version(path);
        if let Some(part) = Unsupported::at(path) {
            return part.audience;
        }
        // Of the roots that match, the longest counts: some surfaces are below another's root.
        let root_bytes = |surface: &Surface| {
            let roots = surface.spec().roots.iter().filter(|root| is_at_or_below(path, root));
            roots.map(|root| root.len()).max()
        };
        let matching = Surface::ALL.iter().filter_map(|surface| Some((root_bytes(surface)?, *surface)));
        let surface = matching.max_by_key(|(bytes, _)| *bytes).map(|(_, surface)| surface);
        Self::of(surface)
    }

    fn of(surface: Option<Surface>) -> Self {
        Self { error_form: surface.map_or(ErrorForm::Native, |surface| surface.spec().error_form), surface }
    }
}

/// A vendor whose clients may call any part of its API.
pub struct Vendor {
    pub audience: Audience,
    /// Roots below `/v1/`, and the name of the API there. A root with a slash at the end matches only paths below it.
    /// Of two roots that match, the first counts, so the longer one is listed first.
    pub unsupported: &'static [(&'static str, &'static str)],
}

/// True if the path is at or below the root. A root with a slash at the end matches only paths below it.
pub fn is_at_or_below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || root.ends_with('/'))
}

/// Adds the details of a refusal, if it has any, to an error in a vendor's form. The vendor's form does not define
/// them.
fn with_details(mut error: Value, refusal: &Refusal) -> Value {
    if let (false, Some(fields)) = (refusal.details.is_empty(), error.as_object_mut()) {
        fields.insert("details".to_owned(), Value::Object(refusal.details.clone()));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_two_roots_belongs_to_the_longer_one() {
        for (path, surface) in [
            ("/v1/chat/completions", Some(Surface::OpenAi)),
            ("/oai/v1/chat/completions", Some(Surface::OpenAi)),
            ("/v1/responses", Some(Surface::Responses)),
            ("/oai/v1/responses", Some(Surface::Responses)),
            ("/v1/completions", Some(Surface::Completions)),
            ("/oai/v1/completions", Some(Surface::Completions)),
            ("/oai/v1/nothing", Some(Surface::OpenAi)),
            ("/v1/inference/chat", Some(Surface::Native)),
            ("/v1/usage", None),
        ] {
            assert_eq!(Audience::at(path).surface, surface, "{path}");
        }
    }
}
