//! Upstreams: the APIs of providers. Each kind of provider has a folder, and a line in the table below.
//! `docs/adding-a-dialect.md` describes how to add one.
//!
//! A folder has an [`Upstream`], its row of the table, and a [`StreamReader`]. The row describes how to call it and how
//! it differs from others; other crates read the row and never match on the kind. An upstream knows no surface: it
//! takes the intermediate form's [`ChatRequest`] and gives [`AnswerChoice`]s and [`Delta`]s. [`Upstream::shared_dialect`] names the only
//! shortcut past the intermediate form.
//!
//! Rows are constants, and readers are variants of one enum, so that a request pays neither an allocation nor a virtual
//! call for each event.

mod address;
mod answer_text;
mod authentication;
mod block_numbers;
mod call_id;
mod calls;
mod content_blocks;
mod embedded_texts;
mod free_request;
mod lines;
mod media;
mod model_list;
mod openai_parts;
mod refusal;
mod server;
mod target;
mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::event::admin::ProviderKindName;
use events::named;
use events::refusal::Refusal;
use events::secret::Secret;
use http::Request;
use intermediate::chat::{AnswerChoice, ChatRequest, Feature, Treatment};
use intermediate::delta::Delta;
use intermediate::embeddings::EmbeddingsRequest;
use intermediate::embeddings::vectors::IndexedVector;
use intermediate::framing::Event;
use intermediate::metered::ReportReader;
use intermediate::shared_dialect::SharedDialect;
use intermediate::{Api, Metered, UpstreamFault};

pub use address::corrected_base_url;
pub use anthropic::takes_signed_thoughts_alone;
pub use authentication::KeyFault;
pub use call_id::CallIdRule;
pub use free_request::{FreeRequest, free_request_of, usual_end_of_address};
pub use intermediate::framing::Framing;
pub use model_list::{ListedModel, ModelList, has_deployments, model_list_of};
pub use openai::server::server_of;
pub use refusal::{
    KeyBlame, REFUSAL_BYTES_MAX, RETRY_AFTER_MAX, UpstreamRefusal, UpstreamRefusalKind, in_band, is_out_of_money,
    read_refusal, refusal_words, shortage,
};
pub use server::Server;
pub use simulator::{KIND as DEV_KIND, SimulatedAnswer as InProcessAnswer, SimulatedBody as InProcessBody};
pub use target::{CountTarget, EmbeddingsTarget, NO_FIELDS, OutboundTarget, UpstreamCap};

macro_rules! upstreams {
    ($($folder:ident => $kind:ident = $name:literal,)+) => {
        $(pub mod $folder;)+

        named! {
            /// A kind of provider that this version can call. Events record its name, which therefore never changes.
            pub enum ProviderKind { $($kind = $name,)+ }
        }

        /// The row of a kind.
        pub const fn of(kind: ProviderKind) -> &'static Upstream {
            match kind {
                $(ProviderKind::$kind => &$folder::UPSTREAM,)+
            }
        }

        impl From<ProviderKind> for ProviderKindName {
            fn from(kind: ProviderKind) -> Self {
                match kind {
                    $(ProviderKind::$kind => const { Self::literal($name) },)+
                }
            }
        }

        /// A stream reader of any kind.
        pub enum AnyStreamReader {
            $($kind($folder::Reader),)+
        }

        impl AnyStreamReader {
            pub fn of(kind: ProviderKind) -> Self {
                match kind {
                    $(ProviderKind::$kind => Self::$kind($folder::Reader::default()),)+
                }
            }

            /// See [`StreamReader::event`].
            pub fn event(
                &mut self,
                event: Event<'_>,
                metered: &mut Metered,
                each: &mut impl FnMut(Delta<'_>),
            ) -> Result<StreamState, UpstreamFault> {
                match self {
                    $(Self::$kind(reader) => reader.event(event, metered, each),)+
                }
            }

            /// See [`StreamReader::is_complete`].
            pub fn is_complete(&self, metered: &Metered) -> bool {
                match self {
                    $(Self::$kind(reader) => reader.is_complete(metered),)+
                }
            }

            pub fn held_bytes(&self) -> usize {
                match self {
                    $(Self::$kind(reader) => reader.held_bytes(),)+
                }
            }
        }
    };
}

upstreams! {
    simulator => Simulator = "simulator",
    openai => Openai = "openai",
    anthropic => Anthropic = "anthropic",
    ollama => Ollama = "ollama",
    azure_openai => AzureOpenai = "azure_openai",
    cohere => Cohere = "cohere",
    gemini => Gemini = "gemini",
    bedrock => Bedrock = "bedrock",
    vertex => Vertex = "vertex",
}

/// The row for a model of a kind: Vertex AI serves models of two dialects, and Bedrock those of several makers. Responses
/// tell by themselves which they are of.
pub fn for_model(kind: ProviderKind, model: &str) -> &'static Upstream {
    match kind {
        ProviderKind::Vertex if vertex::is_claude(model) => &vertex::OF_CLAUDE,
        ProviderKind::Bedrock => bedrock::row(model),
        kind => of(kind),
    }
}

/// Checks the backend's name of a model, where it is in this process. Errors: why no such model can be.
pub fn check_model(kind: ProviderKind, model: &str) -> Result<(), String> {
    match kind {
        ProviderKind::Simulator => simulator::check_model(model),
        _ => Ok(()),
    }
}

impl ProviderKind {
    /// The kind that an event names. `None` if this version does not have it: a later version recorded it.
    pub fn named(name: &ProviderKindName) -> Option<Self> {
        name.find(Self::NAMED)
    }
}

/// A row of the table: the properties of one kind of provider.
pub struct Upstream {
    /// Name in traces: that of OpenTelemetry's conventions for generative AI, if they have one.
    pub telemetry_name: &'static str,
    pub transport: Transport,
    pub framing: Framing,
    /// The dialect that it shares with a surface, for the shortcut past the intermediate form.
    pub shared_dialect: Option<SharedDialect>,
    /// True if a target can name the tokenizer of its model.
    pub has_tokenizers: bool,
    /// True if a provider's row can allow fields that change the cost. Translated requests have only `cache_control` of them.
    pub takes_allowed_fields: bool,
    /// True if reports of usage say for how long a cache keeps what was written to it.
    pub reports_cache_lifetimes: bool,
    /// The sentence for an account without money, if there is no code for that.
    pub out_of_money_sentence: Option<&'static str>,
    /// True if the message of a refusal blames the target's model or the account, of which the client knows nothing, and
    /// nothing but the message says so.
    pub is_about_set_up: fn(&str) -> bool,
    /// How it treats what not every dialect can express. A request with a refused feature never gets to `request_body`.
    pub treatment: fn(Feature) -> Treatment,
    /// Writes the intermediate form's request as a body. Errors: `INVALID_REQUEST` for a value that the dialect cannot express.
    pub request_body: fn(&ChatRequest, &OutboundTarget<'_>) -> Result<Bytes, Refusal>,
    /// Reads a whole response into its choices, at least one. Errors: not JSON of the dialect, an error in band, no
    /// response in it.
    pub read_choices: fn(&str, &mut Metered) -> Result<Vec<AnswerChoice>, UpstreamFault>,
    /// Reads a usage report into its token classes: all of them, and the input's alone.
    pub read_report: ReportReader,
    /// Its API of embeddings; `None` if it has none.
    pub embeddings: Option<EmbeddingsApi>,
}

/// An upstream's API of embeddings. Reports are read by [`Upstream::read_report`].
#[derive(Clone, Copy)]
pub struct EmbeddingsApi {
    /// Added to the provider's `base_url`.
    pub path: fn(&Invocation<'_>) -> Cow<'static, str>,
    /// Writes the intermediate form's request as a body, for the backend's name of the model. Errors: `INVALID_REQUEST` for a value that
    /// the dialect cannot express.
    pub request_body: fn(&EmbeddingsRequest, &str) -> Result<Bytes, Refusal>,
    /// Finds the vectors of a response, at most [`INPUTS_MAX`](intermediate::embeddings::INPUTS_MAX), in any order and unchecked,
    /// and reports its usage as final. Errors: not JSON of the dialect, an error in band, no vectors in it.
    pub read_vectors: for<'a> fn(&'a str, &mut Metered) -> Result<Vec<IndexedVector<'a>>, UpstreamFault>,
}

/// The transport of an upstream.
#[derive(Clone, Copy)]
pub enum Transport {
    Http(Endpoint),
    /// In this process, without an address or a key: gives the response to a body, for the backend's name of a model.
    InProcess(fn(&str, &Bytes) -> InProcessAnswer),
}

/// See [`Endpoint::authenticate`].
pub type Authenticate = fn(&mut Request<Bytes>, &Secret, &Invocation<'_>, DateTime<Utc>) -> Result<(), KeyFault>;

/// An HTTP endpoint.
#[derive(Clone, Copy)]
pub struct Endpoint {
    /// Added to the provider's `base_url`.
    pub path: fn(&Invocation<'_>) -> Cow<'static, str>,
    /// Suffixes that a `base_url` must not have: the path itself, or that of another endpoint. One with a slash at the
    /// end must be nowhere in it.
    pub wrong_base_url_ends: &'static [&'static str],
    /// The settings of a provider that it takes: `api_version`, `region`, `server`,
    /// `output_cap_field`. Others are refused.
    pub settings: &'static [&'static str],
    /// Headers of every request.
    pub headers: &'static [(&'static str, &'static str)],
    /// How the key becomes the secret that `authenticate` gets; `None` if it is that secret.
    pub token_exchange: Option<TokenExchange>,
    /// Adds the credentials to an otherwise complete request, so that they can also be a signature over it. Administration
    /// tries a new key with it.
    pub authenticate: Authenticate,
}

/// An exchange of keys for access tokens: a service account's key is exchanged (RFC 7523); any other key is a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenExchange {
    /// Where keys are exchanged, whatever they say, unless the provider may be in a private network.
    pub token_uri: &'static str,
    pub scope: &'static str,
}

/// The properties of a call that its path and its credentials may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The backend's name for the model.
    pub model: &'a str,
    pub streamed: bool,
    /// The provider's `api_version` (Azure).
    pub api_version: Option<&'a str>,
    /// The provider's `region` (Bedrock).
    pub region: Option<&'a str>,
}

impl Endpoint {
    /// The part of this address that must not be there, which is its end or has a slash at its own.
    pub fn wrong_end_of(&self, base_url: &str) -> Option<&'static str> {
        let is_wrong = |end: &&&str| base_url.ends_with(**end) || end.ends_with('/') && base_url.contains(**end);
        self.wrong_base_url_ends.iter().find(is_wrong).copied()
    }
}

impl Upstream {
    /// True if it has this API.
    pub const fn has(&self, api: Api) -> bool {
        match api {
            Api::Chat => true,
            Api::Embeddings => self.embeddings.is_some(),
        }
    }

    /// The path of an API; `None` if it has none.
    pub fn path(&self, api: Api, invocation: &Invocation<'_>) -> Option<Cow<'static, str>> {
        Some(match api {
            Api::Chat => (self.endpoint()?.path)(invocation),
            Api::Embeddings => (self.embeddings.as_ref()?.path)(invocation),
        })
    }

    /// Its HTTP endpoint; `None` for an in-process upstream.
    pub const fn endpoint(&self) -> Option<&Endpoint> {
        match &self.transport {
            Transport::Http(endpoint) => Some(endpoint),
            Transport::InProcess(_) => None,
        }
    }
}

/// The state of a stream after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    Open,
    /// The terminal marker was seen.
    Ended,
}

/// Reads one stream of an upstream.
pub trait StreamReader: Default {
    /// Measures one event, and calls `each` for its content.
    fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        each: &mut impl FnMut(Delta<'_>),
    ) -> Result<StreamState, UpstreamFault>;

    /// True if the response is complete although its terminal marker was not seen.
    fn is_complete(&self, metered: &Metered) -> bool;

    /// Bytes of memory that the stream takes.
    fn held_bytes(&self) -> usize;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logs have these names for ever. A new kind adds its own.
    #[test]
    fn the_names_of_kinds_never_change() {
        let names: Vec<_> = ProviderKind::ALL.iter().map(|kind| ProviderKindName::from(*kind).to_string()).collect();
        assert_eq!(
            names,
            ["simulator", "openai", "anthropic", "ollama", "azure_openai", "cohere", "gemini", "bedrock", "vertex"]
        );
        assert_eq!(ProviderKind::named(&ProviderKindName::literal("of_a_later_version")), None);
    }

    #[test]
    fn a_model_of_the_simulator_has_options_that_it_knows() {
        let check = |model| check_model(ProviderKind::Simulator, model);
        assert_eq!(check("echo?output_tokens=5"), Ok(()));
        for (model, says) in [("ecco", "echo and lorem"), ("echo?outputs=5", "outputs"), ("lorem?ttft_ms=x", "ttft_ms")]
        {
            assert!(check(model).is_err_and(|reason| reason.contains(says)), "{model}");
        }
        assert_eq!(check_model(ProviderKind::Openai, "anything?at=all"), Ok(()));
    }

    /// A row that begins as another's inherits its embeddings, which may be at another place, or nowhere.
    #[test]
    fn embeddings_are_at_a_path_of_their_own_where_there_are_any() {
        for (kind, model, wanted) in [
            (ProviderKind::Openai, "m", Some("/embeddings")),
            (ProviderKind::Anthropic, "m", None),
            (ProviderKind::Ollama, "m", Some("/api/embed")),
            (ProviderKind::AzureOpenai, "m", Some("/openai/v1/embeddings")),
            (ProviderKind::Cohere, "m", Some("/v2/embed")),
            (ProviderKind::Gemini, "m", Some("/models/m:batchEmbedContents")),
            (ProviderKind::Bedrock, "m", None),
            (ProviderKind::Vertex, "m", None),
            (ProviderKind::Vertex, "claude-x", None),
        ] {
            let invocation = Invocation { model, streamed: false, api_version: None, region: None };
            let path = for_model(kind, model).path(Api::Embeddings, &invocation);
            assert_eq!(path.as_deref(), wanted, "{kind:?} {model}");
        }
    }

    #[test]
    fn what_a_call_adds_is_not_in_the_address_already() {
        for (kind, text, wrong) in [
            (ProviderKind::Openai, "https://api.openai.com/v1", None),
            (ProviderKind::Openai, "https://api.openai.com", None),
            (ProviderKind::Openai, "https://api.openai.com/v1/chat/completions", Some("/chat/completions")),
            (ProviderKind::Openai, "https://api.openai.com/v1/embeddings", Some("/embeddings")),
            (ProviderKind::Anthropic, "https://api.anthropic.com", None),
            (ProviderKind::Anthropic, "https://proxy.example.com/anthropic", None),
            (ProviderKind::Anthropic, "https://api.anthropic.com/v1", Some("/v1")),
            (ProviderKind::Anthropic, "https://api.anthropic.com/v1/messages", Some("/v1/messages")),
            (ProviderKind::Ollama, "http://127.0.0.1:11434", None),
            (ProviderKind::Ollama, "http://127.0.0.1:11434/v1", Some("/v1")),
            (ProviderKind::Ollama, "http://127.0.0.1:11434/api/chat", Some("/api/chat")),
            (ProviderKind::Cohere, "https://api.cohere.com", None),
            (ProviderKind::Cohere, "https://api.cohere.com/v2", Some("/v2")),
            (ProviderKind::Cohere, "https://api.cohere.com/v2/embed", Some("/v2/embed")),
            (ProviderKind::AzureOpenai, "https://r.openai.azure.com", None),
            (ProviderKind::AzureOpenai, "https://proxy.example.com/azure", None),
            (ProviderKind::AzureOpenai, "https://r.openai.azure.com/openai", Some("/openai")),
            (ProviderKind::AzureOpenai, "https://r.services.ai.azure.com/openai/v1", Some("/openai/v1")),
            (
                ProviderKind::AzureOpenai,
                "https://r.openai.azure.com/openai/deployments/d",
                Some("/openai/deployments/"),
            ),
            (ProviderKind::AzureOpenai, "https://r.services.ai.azure.com/models", Some("/models")),
            (ProviderKind::AzureOpenai, "https://proxy.example.com/azure/embeddings", Some("/embeddings")),
            (ProviderKind::Gemini, "https://generativelanguage.googleapis.com/v1beta", None),
            (ProviderKind::Gemini, "https://generativelanguage.googleapis.com/v1beta/models", Some("/models")),
            (ProviderKind::Gemini, "https://generativelanguage.googleapis.com/v1beta/openai", Some("/openai")),
            (ProviderKind::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com", None),
            (ProviderKind::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", Some("/v1")),
            (ProviderKind::Bedrock, "https://bedrock-runtime.us-east-1.amazonaws.com/model", Some("/model")),
            (ProviderKind::Vertex, "https://aiplatform.googleapis.com/v1/projects/p/locations/global", None),
            (
                ProviderKind::Vertex,
                "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi",
                Some("/openapi"),
            ),
        ] {
            let endpoint = of(kind).endpoint().expect("it is called over HTTP");
            assert_eq!(endpoint.wrong_end_of(text), wrong, "{text}");
        }
    }
}
