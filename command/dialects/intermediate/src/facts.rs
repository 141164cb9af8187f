//! Facts about a request, independent of its dialect.

use std::collections::BTreeMap;

use events::abilities::{Ability, AbilitySet};
use events::event::admin::Provider;
use events::money::TokenRate;
use events::refusal::Refusal;
use events::routing::Strategy;
use events::terms::RequiredTerms;
use events::usage::ServiceTier;

use crate::chat::read::CACHE_CONTROL;
use crate::chat::{
    Block, ChatRequest, DocumentSource, ImageSource, InlineDocument, NO_EFFORT, Reasoning, ReasoningAmount,
    ResponseFormat,
};
use crate::other_gateways;

/// The facts that the pipeline needs about a request, whatever its surface.
pub struct Facts {
    /// The requested frontend model.
    pub model: String,
    pub streamed: bool,
    /// The client asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
    /// `None` if the request asks for no output: embeddings.
    pub output_cap: Option<RequestedCap>,
    /// The output that the client's own fields ask for, whatever the output cap.
    pub reserved_output: ReservedOutput,
    /// The thoughts that it allows, also those that nobody sees.
    pub thoughts: AllowedThoughts,
    /// Number of requested choices, 1 to 128. The output cap holds for each.
    pub choices: u64,
    /// The request asks for the log probabilities of its tokens, which take far more bytes than the tokens.
    pub has_logprobs: bool,
    pub images: Images,
    pub documents: Documents,
    /// Upper bound of the prompt tokens that the provider adds for tools that it has defined itself, and of those that are
    /// added to schemas to fit them.
    pub added_tokens: u64,
    /// The request has tools or an output format.
    pub has_tools: bool,
    /// The abilities that a target needs to serve it.
    pub needs: AbilitySet,
    /// Fields that change the cost, in the order of the body.
    pub unpriced: Vec<Unpriced>,
    pub directives: Directives,
}

/// The instructions of a client to the gateway, beside its prompt.
#[derive(Default)]
pub struct Directives {
    /// For the client's accounts: at most 16 pairs.
    pub metadata: BTreeMap<String, String>,
    /// The client's name for what requests with the same beginning of a prompt have in common.
    pub session: Option<String>,
    /// Terms that the request requires of each target.
    pub required_terms: RequiredTerms,
    /// How it wants its targets ordered.
    pub strategy: Option<Strategy>,
}

impl Facts {
    /// The facts of a chat that was read in full, without a field that the provider may bill.
    pub fn of_chat(chat: &ChatRequest, output_cap: RequestedCap) -> Self {
        let contents = || chat.messages.iter().map(|message| &message.content);
        let images = contents().fold(Images::default(), |images, content| images.with_blocks(content));
        let documents = contents().fold(Documents::default(), |documents, content| documents.with_blocks(content));
        let thoughts = chat.reasoning.as_ref().map_or(AllowedThoughts::None, AllowedThoughts::of);
        let needs = needs_of_chat(chat.stream, images, documents)
            .with_if(Ability::Tools, !chat.tools.is_empty())
            .with_if(Ability::ParallelTools, chat.parallel_tool_calls == Some(true))
            .with_if(Ability::StructuredOutput, !matches!(chat.response_format, None | Some(ResponseFormat::Text)))
            .with_if(Ability::Reasoning, thoughts != AllowedThoughts::None)
            .with_if(Ability::Choices, chat.choices > 1)
            .with_if(Ability::Logprobs, chat.logprobs.is_some());
        Self {
            model: chat.model.clone(),
            streamed: chat.stream,
            include_usage: false,
            output_cap: Some(output_cap),
            reserved_output: ReservedOutput {
                within_cap: match chat.reasoning.as_ref().and_then(Reasoning::amount) {
                    Some(ReasoningAmount::BudgetTokens(tokens)) => tokens,
                    Some(ReasoningAmount::Effort(_)) | None => 0,
                },
                ..ReservedOutput::default()
            },
            thoughts,
            choices: chat.choices,
            has_logprobs: chat.logprobs.is_some(),
            images,
            documents,
            added_tokens: added_to_schemas(chat),
            has_tools: !chat.tools.is_empty() || chat.response_format.is_some(),
            needs,
            unpriced: Vec::new(),
            directives: Directives { metadata: chat.metadata.clone(), ..Directives::default() },
        }
    }

    /// The service tier that the request names, if it is one that a price can have.
    pub fn service_tier(&self) -> Option<ServiceTier> {
        service_tier(&self.unpriced)
    }
}

/// Bytes that fitting a schema adds to one of its objects at most: `,"additionalProperties":false`, and
/// `,"description":"{}"` around what is moved, in English words that have fewer tokens than half of their bytes.
const BYTES_ADDED_TO_OBJECT: u64 = 48;

/// Upper bound of the tokens that are added to the objects of these schemas for providers that take a part of JSON Schema
/// alone; see the writer of Anthropic's body.
pub fn fitted_schema_tokens(schemas: &str) -> u64 {
    let objects = memchr::memchr_iter(b'{', schemas.as_bytes()).count();
    u64::try_from(objects).unwrap_or(u64::MAX).saturating_mul(BYTES_ADDED_TO_OBJECT / 2)
}

/// The same for a chat: its output format and its strict tools.
fn added_to_schemas(chat: &ChatRequest) -> u64 {
    let format = match &chat.response_format {
        Some(ResponseFormat::JsonSchema { schema, .. }) => fitted_schema_tokens(schema.get()),
        None | Some(ResponseFormat::Text | ResponseFormat::JsonObject) => 0,
    };
    let strict = chat.tools.iter().filter(|tool| tool.strict == Some(true)).filter_map(|tool| tool.parameters.as_ref());
    strict.fold(format, |tokens, schema| tokens.saturating_add(fitted_schema_tokens(schema.get())))
}

/// The abilities that every chat needs, and those for what its messages have.
pub fn needs_of_chat(streamed: bool, images: Images, documents: Documents) -> AbilitySet {
    AbilitySet::NONE
        .with(Ability::Chat)
        .with(Ability::Text)
        .with_if(Ability::Streaming, streamed)
        .with_if(Ability::Image, images.count > 0)
        .with_if(Ability::Document, documents.count > 0)
}

/// The service tier that these fields name, if it is one that a price can have.
pub fn service_tier(unpriced: &[Unpriced]) -> Option<ServiceTier> {
    unpriced.iter().find_map(|field| field.service_tier)
}

/// The price of what is written to the caches of more than five minutes that these fields ask for. `None` if they ask for
/// none, or for one of a lifetime that no price can have.
pub fn long_cache(unpriced: &[Unpriced]) -> Option<TokenRate> {
    let mut caches = unpriced.iter().filter(|field| field.name == CACHE_CONTROL);
    let first = caches.next()?.cache_write?;
    caches.all(|cache| cache.cache_write == Some(first)).then_some(first)
}

/// The output cap as the client gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedCap {
    /// The client's name for it, for refusals.
    pub field: &'static str,
    /// From 1 to [`OUTPUT_TOKENS_MAX`](crate::chat::read::OUTPUT_TOKENS_MAX); `None` if absent or null.
    pub tokens: Option<u64>,
}

impl RequestedCap {
    pub fn refuse(self, reason: impl Into<String>) -> Refusal {
        Refusal::invalid(self.field, reason)
    }
}

/// The output tokens that fields of a request ask for beside its output cap: of each kind, the most that one field does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservedOutput {
    /// A thinking budget whose thoughts count as output under the cap.
    pub within_cap: u64,
    /// A thinking budget that some servers count beside the cap.
    pub beside_cap: u64,
    /// A minimum length.
    pub minimum: u64,
}

impl ReservedOutput {
    /// The output tokens that a cap must be above: the upstream would refuse a lower one.
    pub fn needed(self) -> u64 {
        self.within_cap.max(self.beside_cap).max(self.minimum)
    }

    /// The thoughts that the budgets allow.
    pub const fn thoughts(self) -> AllowedThoughts {
        match self.within_cap.saturating_add(self.beside_cap) {
            0 => AllowedThoughts::None,
            tokens => AllowedThoughts::UpTo(tokens),
        }
    }

    /// The tokens that each choice can have beyond this cap. Servers raise a cap that leaves no room for an answer beside its
    /// thoughts, some by the whole budget.
    pub fn beyond(self, cap: u64) -> u64 {
        let raised = if self.within_cap < cap { 0 } else { self.within_cap };
        self.beside_cap.saturating_add(raised.max(self.minimum.saturating_sub(cap)))
    }
}

/// The thoughts that a request allows. Providers bill them also if nobody sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedThoughts {
    /// None is asked for. A model that thinks unasked may still have some.
    None,
    /// So many tokens for each choice.
    UpTo(u64),
    /// Up to all output.
    Open,
}

impl AllowedThoughts {
    fn of(reasoning: &Reasoning) -> Self {
        match reasoning.amount() {
            Some(ReasoningAmount::BudgetTokens(tokens)) => Self::UpTo(tokens),
            Some(ReasoningAmount::Effort(NO_EFFORT)) => Self::None,
            Some(ReasoningAmount::Effort(_)) => Self::Open,
            None if reasoning.is_left_to_the_model() => Self::Open,
            None => Self::None,
        }
    }
}

/// Images of a request: their number, and the bytes of base64 that they take in the body.
#[derive(Clone, Copy, Default)]
pub struct Images {
    pub count: u64,
    pub base64_bytes: u64,
}

/// Documents whose tokens do not follow from their bytes: their number, the bytes of base64 that they take in the body,
/// and an estimate of their pages. A request with one can cost the whole context of its target.
#[derive(Clone, Copy, Default)]
pub struct Documents {
    pub count: u64,
    /// Those of them that are not text which may be cited: data, and what the provider fetches.
    pub files: u64,
    pub base64_bytes: u64,
    pages: u64,
}

/// Estimates of the tokens of an image and of a page, should nobody count them. Anthropic bills about 1,600 for an image
/// of the size to which it reduces larger ones, and 1,500 to 3,000 for the text of a page.
const IMAGE_TOKENS: u64 = 1_600;
const PAGE_TOKENS: u64 = 3_000;
/// Base64 of an average page, between those of text and scanned ones.
const PAGE_BASE64_BYTES: u64 = 32 * 1024;
/// Pages of a document that the provider fetches, whose length is unknown.
const REMOTE_PAGES: u64 = 10;

/// An estimate of the tokens of images and of the pages of documents.
pub const fn media_tokens_estimate(images: Images, documents: Documents) -> u64 {
    let of_images = images.count.saturating_mul(IMAGE_TOKENS);
    of_images.saturating_add(documents.pages.saturating_mul(PAGE_TOKENS))
}

impl Documents {
    /// Adds the documents in these blocks, and in the tool results among them. Text is bounded by its bytes.
    pub fn with_blocks(self, blocks: &[Block]) -> Self {
        blocks.iter().fold(self, |documents, block| match block {
            Block::Document(document) => match &document.source {
                DocumentSource::Url(_) => documents.with_remote(),
                DocumentSource::Inline { base64, .. } => documents.with_inline(base64.len()),
                DocumentSource::Text(_) => documents,
            },
            Block::ToolResult(result) => documents.with_blocks(&result.content),
            Block::Text(_) | Block::ToolCall(_) | Block::Reasoning(_) | Block::Image(_) | Block::CachePoint(_) => {
                documents
            }
        })
    }

    /// Adds a document that the provider may be sent as it is.
    pub fn with_file(self, document: &InlineDocument<'_>) -> Self {
        if document.is_bounded_by_bytes() { self } else { self.with_inline(document.base64().len()) }
    }

    /// Adds a document with so many bytes of base64.
    pub fn with_inline(self, base64_bytes: usize) -> Self {
        let base64_bytes = u64::try_from(base64_bytes).unwrap_or(0);
        let pages = base64_bytes.div_ceil(PAGE_BASE64_BYTES).max(1);
        Self {
            count: self.count + 1,
            files: self.files + 1,
            base64_bytes: self.base64_bytes.saturating_add(base64_bytes),
            pages: self.pages.saturating_add(pages),
        }
    }

    /// Adds a document that the provider fetches.
    pub const fn with_remote(self) -> Self {
        let pages = self.pages.saturating_add(REMOTE_PAGES);
        Self { count: self.count + 1, files: self.files + 1, pages, ..self }
    }

    /// Adds a text that may be cited. The provider puts marks between its sentences, so that its bytes do not bound its
    /// tokens; they remain the estimate of them.
    pub const fn with_cited_text(self) -> Self {
        Self { count: self.count + 1, ..self }
    }
}

/// A field that is sent only to providers whose `allowed_fields` has it.
#[derive(Clone, Debug)]
pub struct Unpriced {
    pub name: &'static str,
    pub refusal: Refusal,
    /// The service tier that it asks for, if a price can have it.
    pub service_tier: Option<ServiceTier>,
    /// The price of writing to the cache that it asks for, if a price can have it.
    pub cache_write: Option<TokenRate>,
    /// Whether translations leave it out, so that it costs nothing there.
    pub is_lost_in_translation: bool,
}

impl Unpriced {
    /// A field that no price can have.
    pub const fn new(name: &'static str, refusal: Refusal) -> Self {
        Self { name, refusal, service_tier: None, cache_write: None, is_lost_in_translation: false }
    }

    /// The refusal, with what can be done about it: first what the gateway has in place of another gateway's field.
    pub fn refuse(&self, remedy: Remedy) -> Refusal {
        let mut refusal = self.refusal.clone();
        let name = self.name;
        if let Some(advice) = other_gateways::in_place_of(name) {
            refusal.message.push_str(&format!("; {advice}"));
            refusal.message.push_str(&match remedy {
                Remedy::Nothing => String::new(),
                Remedy::AllowedFields => {
                    format!("; if the provider itself should act on it, add {name} to the provider's allowed_fields")
                }
                Remedy::OwnProvider => {
                    format!(
                        "; if a provider itself should act on it, add one of your own with {name} in its allowed_fields"
                    )
                }
            });
            return refusal;
        }
        refusal.message.push_str(&match (remedy, self.service_tier) {
            (Remedy::Nothing, _) => "; leave it out, or use a model whose provider speaks this API".to_owned(),
            (Remedy::AllowedFields, None) => {
                format!("; to let it through, add {name} to the provider's allowed_fields")
            }
            (Remedy::OwnProvider, None) => {
                format!("; to let it through, add a provider of your own with {name} in its allowed_fields")
            }
            (Remedy::AllowedFields, Some(tier)) => {
                format!("; the price has no tier {tier}: give it one, or add {name} to the provider's allowed_fields")
            }
            (Remedy::OwnProvider, Some(tier)) => {
                format!("; the price has no tier {tier}: create a price of your own that has it")
            }
        });
        refusal
    }
}

/// A way to let a field through that has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The `allowed_fields` of the provider.
    AllowedFields,
    /// The same of another provider: this one cannot be changed.
    OwnProvider,
    /// Nothing: the provider is not sent the field.
    Nothing,
}

impl Remedy {
    /// The same at this provider. One that the gateway made is changed by nobody.
    pub const fn at(self, provider: &Provider) -> Self {
        match self {
            Self::AllowedFields if provider.origin.is_some() => Self::OwnProvider,
            other => other,
        }
    }
}

impl Images {
    /// Adds the images in these blocks, and in the tool results among them.
    pub fn with_blocks(self, blocks: &[Block]) -> Self {
        blocks.iter().fold(self, |images, block| match block {
            Block::Image(image) => images.with_one(match &image.source {
                ImageSource::Url(_) => 0,
                ImageSource::Inline { base64, .. } => base64.len(),
            }),
            Block::ToolResult(result) => images.with_blocks(&result.content),
            Block::Text(_) | Block::ToolCall(_) | Block::Reasoning(_) | Block::Document(_) | Block::CachePoint(_) => {
                images
            }
        })
    }

    /// Adds one image with so many bytes of base64.
    pub fn with_one(self, base64_bytes: usize) -> Self {
        let base64_bytes = u64::try_from(base64_bytes).unwrap_or(0);
        Self { count: self.count + 1, base64_bytes: self.base64_bytes.saturating_add(base64_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_cap_does_not_bound_is_beyond_it() {
        for (within_cap, beside_cap, minimum, needed, beyond) in [
            (0, 0, 0, 0, 0),
            (99, 0, 100, 100, 0),
            // An answer has no room beside such thoughts.
            (100, 0, 0, 100, 100),
            (5_000, 0, 7_000, 7_000, 6_900),
            (5_000, 0, 50, 5_000, 5_000),
            (0, 30, 0, 30, 30),
            (200, 30, 0, 200, 230),
            (u64::MAX, u64::MAX, u64::MAX, u64::MAX, u64::MAX),
        ] {
            let reserved = ReservedOutput { within_cap, beside_cap, minimum };
            assert_eq!((reserved.needed(), reserved.beyond(100)), (needed, beyond), "{reserved:?}");
        }
    }
}
