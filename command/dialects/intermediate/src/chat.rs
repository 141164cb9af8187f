//! The dialect-independent chat: every translation between a surface and an upstream goes through it.

pub mod answer;
pub mod call_ids;
mod documents;
pub mod feature;
mod media_types;
pub mod read;
mod refused;

use std::borrow::Cow;
use std::collections::BTreeMap;

use events::usage::ServiceTier;
use serde_json::value::RawValue;

use documents::without_prefix;
use media_types::{normal_base64, normal_media_type};

pub use answer::{ANSWER_BLOCKS_MAX, AnswerChoice, OutputBlock, ToolCall};
pub use call_ids::{CallIds, is_plain_call_id};
pub use documents::{InlineDocument, data_url, with_texts_for_documents};
pub use feature::{Feature, FeatureSet, Treatment, Treatments};

/// A chat request, independent of any dialect.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// The frontend model, as the client named it.
    pub model: String,
    pub messages: Vec<Message>,
    pub sampling: Sampling,
    /// Number of choices, 1 to 128.
    pub choices: u64,
    /// The client wants the probabilities of the tokens.
    pub logprobs: Option<Logprobs>,
    pub stop: Vec<String>,
    pub stream: bool,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    /// False: at most one tool call per response.
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    pub reasoning: Option<Reasoning>,
    /// At most 16 pairs; kept in the event, never sent upstream.
    pub metadata: BTreeMap<String, String>,
    /// The client's name for its own user, where its dialect has one.
    pub user: Option<String>,
    /// The tier that it is to be served in, if a price can have it.
    pub service_tier: Option<ServiceTier>,
    /// The client's names for what it asked for and no other dialect has, where the answer is a good one without it.
    pub left_out: Vec<&'static str>,
}

/// How tokens are drawn. Numbers are JSON with the digits they came with.
#[derive(Clone, Debug, Default)]
pub struct Sampling {
    pub temperature: Option<Box<RawValue>>,
    pub top_p: Option<Box<RawValue>>,
    pub top_k: Option<u64>,
    pub seed: Option<Box<RawValue>>,
    /// `None` also if it is 0, which is no penalty.
    pub frequency_penalty: Option<Box<RawValue>>,
    /// `None` also if it is 0, which is no penalty.
    pub presence_penalty: Option<Box<RawValue>>,
    /// A JSON object with a number for each token id.
    pub logit_bias: Option<Box<RawValue>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logprobs {
    /// How many of the most probable tokens are given beside the one that was drawn.
    pub top: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Block>,
}

/// One piece of a message.
#[derive(Clone, Debug)]
pub enum Block {
    Text(String),
    Image(Image),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    Reasoning(ReasoningBlock),
    Document(Document),
    /// The prompt up to here is to be cached.
    CachePoint(CacheLifetime),
}

impl Block {
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// An image in a message.
#[derive(Clone, Debug)]
pub struct Image {
    pub source: ImageSource,
    /// The requested resolution: `low`, `high`, `auto` …
    pub detail: Option<String>,
}

#[derive(Clone, Debug)]
pub enum ImageSource {
    /// `http` or `https`: the provider fetches it.
    Url(String),
    /// Base64 data of a media type for which [`is_image`] holds, both in normal form; see [`Self::inline`].
    Inline { media_type: String, base64: String },
}

impl ImageSource {
    /// Data of a media type, both in any spelling.
    pub fn inline(media_type: &str, base64: Cow<'_, str>) -> Self {
        Self::Inline { media_type: normal_media_type(media_type), base64: normal_base64(base64) }
    }
}

/// A document in a message, such as a PDF. Its pages cannot be counted here, so it counts as the whole context of the
/// target.
#[derive(Clone, Debug)]
pub struct Document {
    pub source: DocumentSource,
    pub title: Option<String>,
}

#[derive(Clone, Debug)]
pub enum DocumentSource {
    /// `http` or `https`: the provider fetches it.
    Url(String),
    Inline {
        media_type: String,
        base64: String,
    },
    Text(String),
}

/// How long a provider keeps a cached prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheLifetime {
    /// Five minutes.
    #[default]
    Short,
    /// An hour.
    Long,
}

/// The kind of an image's URL. Scheme, media type and `;base64` ignore case.
pub enum ImageUrl<'a> {
    /// `http` or `https`.
    Remote,
    /// `data:` of a media type for which [`is_image`] holds; `base64` is `None` for another encoding.
    Inline { media_type: &'a str, base64: Option<&'a str> },
}

impl<'a> ImageUrl<'a> {
    /// `None` for the URL of something else, and for text that is not a URL.
    pub fn of(url: &'a str) -> Option<Self> {
        if ["https://", "http://"].iter().any(|scheme| without_prefix(url, scheme).is_some()) {
            return Some(Self::Remote);
        }
        let (media_type, data, in_base64) = data_url(url)?;
        is_image(media_type).then_some(Self::Inline { media_type, base64: in_base64.then_some(data) })
    }
}

/// True for the media types of images. Providers may take others for documents, whose pages cannot be counted here.
pub fn is_image(media_type: &str) -> bool {
    media_type.get(..6).is_some_and(|top| top.eq_ignore_ascii_case("image/"))
}

/// The result of a tool call.
#[derive(Clone, Debug)]
pub struct ToolResult {
    /// Id of the tool call.
    pub id: String,
    /// Text, images, documents and cache points only. A result that the client gave as JSON is here as text.
    pub content: Vec<Block>,
    pub is_error: bool,
}

/// Reasoning of an earlier response. It is sent back only to dialects that take it.
#[derive(Clone, Debug)]
pub struct ReasoningBlock {
    pub text: String,
    /// The provider's proof of origin; without it Anthropic refuses the block.
    pub signature: Option<String>,
    /// Reasoning that the provider encrypted.
    pub redacted: Option<String>,
}

/// True for the signature of a dialect that marks its own: they begin with its name and a colon (`gemini:`). So does what
/// stands for none (`ledgerway:`). Those of Claude have no mark, wherever it runs.
pub fn is_marked_signature(signature: &str) -> bool {
    signature.contains(':')
}

impl ReasoningBlock {
    /// The signature, if it may be Claude's; others would be refused as false.
    pub fn unmarked_signature(&self) -> Option<&str> {
        self.signature.as_deref().filter(|signature| !is_marked_signature(signature))
    }
}

#[derive(Clone, Debug)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON Schema as received.
    pub parameters: Option<Box<RawValue>>,
    /// The provider guarantees that arguments satisfy the schema.
    pub strict: Option<bool>,
    /// The prompt up to and with this tool is to be cached.
    pub cache_point: Option<CacheLifetime>,
    /// The client gave examples of its arguments, or that it is not needed at once. They are not kept.
    pub has_hints: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

#[derive(Clone, Debug)]
pub enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema {
        name: Option<String>,
        /// The purpose of the output.
        description: Option<String>,
        /// JSON Schema as received.
        schema: Box<RawValue>,
        strict: Option<bool>,
    },
}

/// Whether and how hard the model may reason before it answers. Claude takes the two apart, because its effort is also
/// that of its text; other dialects have one field for both, see [`Self::amount`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// `None`: as the model does by itself.
    pub thinking: Option<Thinking>,
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`; the provider decides which of them a model takes.
    pub effort: Option<String>,
    /// How thoughts are shown to the client, in Anthropic's words.
    pub display: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    Off,
    /// The model decides.
    Adaptive,
    /// Left to the effort: the client's dialect has no other word for it.
    ByEffort,
    BudgetTokens(u64),
}

/// How much to reason, in one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasoningAmount<'a> {
    Effort(&'a str),
    BudgetTokens(u64),
}

/// The effort that is no reasoning at all.
pub const NO_EFFORT: &str = "none";

impl Reasoning {
    /// The effort of dialects in which nothing else says whether to think.
    pub fn effort(effort: &str) -> Self {
        let thinking = if effort == NO_EFFORT { Thinking::Off } else { Thinking::ByEffort };
        Self { thinking: Some(thinking), effort: Some(effort.to_owned()), display: None }
    }

    pub const fn budget(tokens: u64) -> Self {
        Self { thinking: Some(Thinking::BudgetTokens(tokens)), effort: None, display: None }
    }

    /// A budget says it best, then the effort. `None` if the model decides.
    pub fn amount(&self) -> Option<ReasoningAmount<'_>> {
        match self.thinking {
            Some(Thinking::BudgetTokens(tokens)) => Some(ReasoningAmount::BudgetTokens(tokens)),
            Some(Thinking::Off) => Some(ReasoningAmount::Effort(NO_EFFORT)),
            Some(Thinking::Adaptive | Thinking::ByEffort) | None => self.effort.as_deref().map(ReasoningAmount::Effort),
        }
    }

    /// True if the client lets the model think as much as it likes.
    pub fn is_left_to_the_model(&self) -> bool {
        self.thinking == Some(Thinking::Adaptive) && self.effort.is_none()
    }

    /// True if the client switched thinking off other than by its effort.
    pub fn is_switched_off(&self) -> bool {
        self.thinking == Some(Thinking::Off) && self.effort.as_deref() != Some(NO_EFFORT)
    }
}
