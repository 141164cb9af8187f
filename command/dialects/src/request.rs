//! A client's request: checked once, then read for its facts and translated for each target.

mod token_count;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;

use bytes::Bytes;
use events::abilities::Ability;
use events::refusal::{ErrorCode, Refusal};
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use events::routing::SeenFields;
use http::{HeaderName, HeaderValue};
use intermediate::Api;
use intermediate::chat::feature::not_expressible;
use intermediate::chat::read::check_calls;
use intermediate::chat::{ChatRequest, Feature, FeatureSet, Treatment, with_texts_for_documents};
use intermediate::embeddings::EmbeddingsRequest;
use intermediate::facts::{self, Facts, Images, Remedy, Unpriced, media_tokens_estimate};
use intermediate::fields::Path;
use intermediate::shared_dialect::SharedDialect;
use provider_dialects::{EmbeddingsTarget, OutboundTarget, ProviderKind, Server};
use surfaces::anthropic::BETA;
use surfaces::priceable::{CACHE_CONTROL, unpriced};
use surfaces::{AnyRequest, ParsedRequest, RequestHeaders, Surface};

use super::kept_calls::KeptCalls;
use super::passthrough::{EditedBody, anthropic, openai, shortcut};
use super::whole::AnswerReader;

pub use token_count::{TokenCountRequest, read_token_count, token_count};

/// Upper bound of the tokens billed for one image. The most expensive published rule is OpenAI's for gpt-4o-mini: 2,833
/// tokens, plus 5,667 for each of at most 8 tiles (2048 by 768 pixels in tiles of 512). Others are far below: Together
/// 6,404, Anthropic 4,784. The bound does not rely on `detail`, which providers treat differently.
pub const IMAGE_TOKENS_MAX: u64 = 2_833 + 8 * 5_667;

/// Upper bound of the prompt that a provider adds to requests with tools or an output format. Anthropic publishes up to
/// 530 tokens for its tool-use prompt, and adds another for structured output without publishing its length.
pub const TOOL_PROMPT_TOKENS_MAX: u64 = 1_024;

/// Upper bound of what a chat template adds to every prompt: dates, channels, a default system prompt. About 70 tokens
/// for gpt-oss, 30 for Llama. What it adds to each message is covered by the JSON around that message.
pub const TEMPLATE_TOKENS_MAX: u64 = 128;

/// A request that is well formed and whose cost can be bounded.
pub struct ClientRequest {
    surface: Surface,
    body: Bytes,
    pub facts: Facts,
    headers: RequestHeaders,
    request: ParsedRequest,
}

impl ClientRequest {
    /// Checks a body of at most 32 MiB. Errors: `INVALID_REQUEST` for a malformed body, `MODEL_UNPRICED` for parts of
    /// messages that have no price. [`Self::unpriced`] refuses the fields that change the cost.
    pub fn parse(surface: Surface, body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        let (facts, request) = ParsedRequest::read(surface, text)?;
        Ok(Self { surface, body, facts, headers: RequestHeaders::default(), request })
    }

    /// Adds the headers that its surface has read.
    pub fn set_headers(&mut self, headers: RequestHeaders) {
        self.headers = headers;
    }

    /// The headers that its surface has read.
    pub const fn headers(&self) -> &RequestHeaders {
        &self.headers
    }

    /// The client's headers for upstreams of its own dialect, as it gave them.
    pub fn forwarded_headers(&self) -> &[(HeaderName, HeaderValue)] {
        self.headers.forwarded()
    }

    /// The client's headers that go on to a provider of this kind that allows these fields.
    pub fn headers_for(&self, kind: ProviderKind, allowed: &BTreeSet<String>) -> Vec<(HeaderName, HeaderValue)> {
        if shortcut(self.surface, kind).is_some() { self.headers.forwarded_to(allowed) } else { Vec::new() }
    }

    pub const fn surface(&self) -> Surface {
        self.surface
    }

    /// The API of upstreams that it needs.
    pub const fn api(&self) -> Api {
        self.surface.api()
    }

    /// How its answer is read.
    pub const fn answer_reader(&self) -> AnswerReader {
        match &self.request {
            ParsedRequest::Chat(_) => AnswerReader::Chat(self.surface, KeptCalls::All),
            ParsedRequest::Embeddings(request) => AnswerReader::Embeddings(self.surface, request.expected),
        }
    }

    /// The body as received; empty after [`Self::drop_unneeded_body`] has dropped it.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The request in the intermediate form. `None` if it is no chat, or has none.
    pub fn chat(&self) -> Option<Cow<'_, ChatRequest>> {
        match &self.request {
            ParsedRequest::Chat(request) => request.chat(&self.body).ok(),
            ParsedRequest::Embeddings(_) => None,
        }
    }

    /// Returns the part of the request that the response repeats, in the form of its surface. It is short, and empty on
    /// most surfaces.
    pub fn echo(&self) -> Bytes {
        match &self.request {
            ParsedRequest::Chat(request) => request.echo(),
            ParsedRequest::Embeddings(_) => Bytes::new(),
        }
    }

    /// Drops the received body if everything needed was read from it. After that [`Self::body`] is empty, and
    /// [`Self::input_tokens_bound`] bounds nothing.
    pub fn drop_unneeded_body(&mut self) {
        if !self.surface.spec().keeps_body {
            self.body = Bytes::new();
        }
    }

    /// Upper bound of the prompt's tokens: a token is at least one byte of the body. Each image counts as
    /// [`IMAGE_TOKENS_MAX`] instead of its base64, and templates and tool prompts are added. Of embeddings, token ids count
    /// as what they are. A target's `system_prefix` is not included: add its bytes. With documents it bounds only the rest;
    /// see [`Self::has_documents`].
    pub fn input_tokens_bound(&self) -> u64 {
        if let ParsedRequest::Embeddings(request) = &self.request {
            return request.input_tokens_bound;
        }
        let Images { count, base64_bytes } = self.facts.images;
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        let tool_prompt = if self.facts.has_tools { TOOL_PROMPT_TOKENS_MAX } else { 0 };
        bytes
            .saturating_sub(base64_bytes)
            .saturating_sub(self.facts.documents.base64_bytes)
            .saturating_add(count.saturating_mul(IMAGE_TOKENS_MAX))
            .saturating_add(self.facts.added_tokens)
            .saturating_add(TEMPLATE_TOKENS_MAX + tool_prompt)
    }

    /// True if the request has documents whose tokens cannot be bounded by their bytes, so that its prompt may be as long
    /// as the whole context of its target.
    pub const fn has_documents(&self) -> bool {
        self.facts.documents.count > 0
    }

    /// Upper bound of the tokens that have to fit into a target's window together: of embeddings, those of the longest input.
    /// `prompt_bytes`: [`Self::input_tokens_bound`] with the bytes of a target's `system_prefix`.
    pub const fn window_tokens_bound(&self, prompt_bytes: u64) -> u64 {
        match &self.request {
            ParsedRequest::Chat(_) => prompt_bytes,
            ParsedRequest::Embeddings(request) => request.longest_input.tokens_bound,
        }
    }

    /// The tokens that the client has counted itself and that have to fit into a target's window together.
    pub const fn window_token_ids(&self) -> u64 {
        match &self.request {
            ParsedRequest::Chat(_) => 0,
            ParsedRequest::Embeddings(request) => request.longest_input.token_ids,
        }
    }

    /// Estimate of the prompt's tokens, should the provider report none: a quarter of the bytes of its text, what an image
    /// and a page have on average, or the number of token ids. `prompt_bytes`: [`Self::input_tokens_bound`] with the bytes
    /// of a target's `system_prefix`.
    pub const fn input_tokens_estimate(&self, prompt_bytes: u64) -> u64 {
        match &self.request {
            ParsedRequest::Chat(_) => {
                let Facts { images, documents, .. } = &self.facts;
                let text_bytes = prompt_bytes.saturating_sub(images.count.saturating_mul(IMAGE_TOKENS_MAX));
                text_bytes.div_ceil(4).saturating_add(media_tokens_estimate(*images, *documents))
            }
            ParsedRequest::Embeddings(request) => request.input_tokens_estimate,
        }
    }

    /// `MODEL_UNPRICED` for the first field that changes the cost and that the provider does not allow: service tiers,
    /// other models, searches, input from elsewhere, other caps. A translation has two of them, the mark of a cache and the
    /// service tier. Values of headers that may change it are just not sent.
    pub fn unpriced(&self, kind: ProviderKind, allowed: &BTreeSet<String>) -> Option<Refusal> {
        self.first_unpriced(kind, allowed).map(|(field, remedy)| field.refuse(remedy))
    }

    /// All such fields, by which targets are judged.
    pub fn seen_fields(&self) -> SeenFields {
        SeenFields {
            unpriced: self.facts.unpriced.iter().map(|field| field.name).collect(),
            cache_write: facts::long_cache(&self.facts.unpriced),
            has_files: self.facts.documents.files > 0,
        }
    }

    /// That field, and what lets it through.
    pub fn first_unpriced(&self, kind: ProviderKind, allowed: &BTreeSet<String>) -> Option<(Unpriced, Remedy)> {
        let is_passed_on = shortcut(self.surface, kind).is_some();
        let has_tiers = || (provider_dialects::of(kind).treatment)(Feature::ServiceTier) == Treatment::Translated;
        let is_translated = |field: &Unpriced| match field.name {
            CACHE_CONTROL => true,
            _ => field.service_tier.is_some() && has_tiers(),
        };
        let counts = |field: &&Unpriced| is_passed_on || !field.is_lost_in_translation;
        let counted = self.facts.unpriced.iter().filter(counts);
        let mut fields = counted.map(|field| (field, is_passed_on || is_translated(field)));
        let (refused, can_be_sent) =
            fields.find(|(field, can_be_sent)| !can_be_sent || !allowed.contains(field.name))?;
        let helps = can_be_sent && provider_dialects::of(kind).takes_allowed_fields;
        Some((refused.clone(), if helps { Remedy::AllowedFields } else { Remedy::Nothing }))
    }

    /// `MODEL_UNPRICED` for files at a server that may have them read by another service, which it bills by the page and not
    /// as tokens: OpenRouter, unless its provider allows the `plugins` that say which service.
    pub fn unpriced_documents(&self, server: Server, allowed: &BTreeSet<String>) -> Option<(Unpriced, Remedy)> {
        const PLUGINS: &str = "plugins";
        if self.facts.documents.files == 0 || server != Server::Openrouter || allowed.contains(PLUGINS) {
            return None;
        }
        let field = (self.surface.spec().field_of)(Feature::Document).unwrap_or(Feature::Document.name());
        let refusal = unpriced(
            &Path::Root.field(field),
            "openrouter may have a document read by a service with a price of its own",
        );
        Some((Unpriced::new(PLUGINS, refusal), Remedy::AllowedFields))
    }

    /// Writes the bodies for targets.
    pub const fn upstream_bodies(&self) -> UpstreamBodies<'_> {
        UpstreamBodies { request: self, chat: OnceCell::new(), embeddings: OnceCell::new() }
    }

    /// The client's names for parameters that are taken out of a chat because the target's model refuses them.
    fn names_of(&self, refused: RefusedParameters, chat: &ChatRequest, used: FeatureSet) -> Vec<&'static str> {
        let field_of = |feature: Feature| (self.surface.spec().field_of)(feature).unwrap_or(feature.name());
        let wishes = [Feature::ReasoningEffort, Feature::ReasoningBudget, Feature::ReasoningAdaptive];
        let asks_for_thoughts = self.facts.needs.contains(Ability::Reasoning);
        let name = |parameter: RefusedParameter| -> Vec<&'static str> {
            match parameter {
                RefusedParameter::ReasoningEffort | RefusedParameter::EffortWithTools => match &chat.reasoning {
                    // The model would think by itself.
                    None => vec![field_of(Feature::ReasoningEffort)],
                    Some(_) if !asks_for_thoughts => Vec::new(),
                    Some(_) => wishes.into_iter().filter(|wish| used.contains(*wish)).map(field_of).collect(),
                },
                parameter => vec![parameter.as_str()],
            }
        };
        refused.iter().flat_map(name).collect()
    }

    /// The body for one target; see [`UpstreamBodies::body`].
    pub fn upstream_body(&self, kind: ProviderKind, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
        Ok(self.upstream_bodies().body(kind, target)?.bytes)
    }
}

/// A body for a target.
pub struct WrittenBody {
    pub bytes: Bytes,
    /// The parts of the request that the target's dialect leaves out.
    pub ignored: Ignored,
    /// The tool calls of the answer that the client gets.
    pub calls: KeptCalls,
    /// Whether it asks for no thoughts because the target's model refuses an effort.
    pub asks_for_no_thoughts: bool,
}

impl WrittenBody {
    /// A body that was passed on. Listed is what the target's model refuses, and `metadata` that OpenAI would not store; other fields
    /// that a known server does not take are cut out as well, and not listed.
    fn passed_on(EditedBody { bytes, left_out, asks_for_no_thoughts }: EditedBody) -> Self {
        let ignored = Ignored { fields: left_out, ..Ignored::NOTHING };
        Self { bytes, ignored, calls: KeptCalls::All, asks_for_no_thoughts }
    }

    /// A body that leaves nothing out.
    const fn complete(bytes: Bytes) -> Self {
        Self { bytes, ignored: Ignored::NOTHING, calls: KeptCalls::All, asks_for_no_thoughts: false }
    }
}

/// The parts of a request that a body leaves out because the answer is a good one without them.
pub struct Ignored {
    pub features: FeatureSet,
    /// Fields that no dialect but the client's has, in the client's names.
    pub fields: Vec<&'static str>,
    /// Header and value of what goes only where it is allowed.
    pub header_values: Vec<String>,
}

impl Ignored {
    const NOTHING: Self = Self { features: FeatureSet::EMPTY, fields: Vec::new(), header_values: Vec::new() };

    /// Its names in metrics.
    pub fn metric_names(&self) -> impl Iterator<Item = &'static str> {
        let header = (!self.header_values.is_empty()).then_some(BETA);
        self.features.iter().map(Feature::name).chain(self.fields.iter().copied()).chain(header)
    }

    /// The names that a surface's clients have for it, in one line; `None` if nothing is left out.
    pub fn in_words_of(&self, surface: Surface) -> Option<String> {
        let field_of = |feature: Feature| (surface.spec().field_of)(feature).unwrap_or(feature.name());
        let mut names = Vec::new();
        let values = self.header_values.iter().map(String::as_str);
        for name in self.features.iter().map(field_of).chain(self.fields.iter().copied()).chain(values) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// Writes the bodies of one request for several targets, and translates it into the intermediate form at most once.
pub struct UpstreamBodies<'a> {
    request: &'a ClientRequest,
    /// In the intermediate form, with the features that it uses.
    chat: OnceCell<Result<(Cow<'a, ChatRequest>, FeatureSet), Refusal>>,
    embeddings: OnceCell<Result<EmbeddingsRequest, Refusal>>,
}

impl UpstreamBodies<'_> {
    /// The chat body for one target. If surface and target share a dialect, the client's bytes are edited in place; otherwise
    /// the request is translated. Errors: those of [`ClientRequest::unpriced`], and `INVALID_REQUEST` for a field that has
    /// no counterpart in the target's dialect and whose loss would change the response. Each dialect's module lists the
    /// fields that it drops on purpose.
    pub fn body(&self, kind: ProviderKind, target: &OutboundTarget<'_>) -> Result<WrittenBody, Refusal> {
        let ClientRequest { surface, body, facts, request, .. } = self.request;
        let of_documents = || self.request.unpriced_documents(target.server?, target.allowed_fields);
        if let Some((field, remedy)) = self.request.first_unpriced(kind, target.allowed_fields).or_else(of_documents) {
            return Err(field.refuse(remedy));
        }
        let ParsedRequest::Chat(request) = request else { return Err(of_another_api()) };
        match (shortcut(*surface, kind), request) {
            (Some(SharedDialect::OpenAi), AnyRequest::OpenAi(places)) => {
                openai::edited_body(body, places, facts, kind, target).map(WrittenBody::passed_on)
            }
            (Some(SharedDialect::Anthropic), AnyRequest::Anthropic(places)) => {
                let mut written = anthropic::edited_body(body, places, facts, target).map(WrittenBody::passed_on)?;
                written.ignored.header_values = self.request.headers.withheld_from(target.allowed_fields).to_vec();
                Ok(written)
            }
            (_, request) => {
                let in_client_words = |refusal| in_client_words(refusal, request, *surface, body);
                let translate = || {
                    let chat = request.chat(body)?;
                    check_calls(&chat).map_err(in_client_words)?;
                    let used = chat.features();
                    Ok((chat, used))
                };
                let (chat, used) = self.chat.get_or_init(translate).as_ref().map_err(Clone::clone)?;
                let upstream = provider_dialects::for_model(kind, target.model);
                let (mut chat, mut used) = (&**chat, *used);
                let not_taken = chat.parameters_among(target.refused.of_request(facts.needs));
                let (texts, reduced);
                let mut fields = Vec::new();
                if !not_taken.is_empty() {
                    fields = self.request.names_of(not_taken, chat, used);
                    reduced = chat.clone().without_parameters(not_taken);
                    (chat, used) = (&reduced, reduced.features());
                }
                if used.contains(Feature::Document)
                    && (upstream.treatment)(Feature::Document) == Treatment::Refused
                    && let Some(put) = with_texts_for_documents(chat)
                {
                    texts = put;
                    (chat, used) = (&texts, texts.features());
                }
                let treated = |treatment| used.filtered(|feature| (upstream.treatment)(feature) == treatment);
                if let Some(refused) = treated(Treatment::Refused).iter().next() {
                    let field = (surface.spec().field_of)(refused).unwrap_or_default();
                    return Err(in_client_words(not_expressible(refused, field, upstream.telemetry_name)));
                }
                let written = (upstream.request_body)(chat, target);
                let bytes = written.map_err(in_client_words)?;
                fields.extend(chat.left_out.iter().copied().chain(self.request.headers.not_translated()));
                let ignored = Ignored { features: treated(Treatment::Ignored), fields, ..Ignored::NOTHING };
                let asks_for_no_thoughts = not_taken.contains(RefusedParameter::ReasoningEffort)
                    || not_taken.contains(RefusedParameter::EffortWithTools);
                Ok(WrittenBody { bytes, ignored, calls: KeptCalls::of(used), asks_for_no_thoughts })
            }
        }
    }

    /// The body of a request for embeddings, likewise. Errors: also `INVALID_REQUEST` if the target's provider has none.
    pub fn embeddings_body(&self, kind: ProviderKind, target: &EmbeddingsTarget<'_>) -> Result<WrittenBody, Refusal> {
        let ClientRequest { surface, body, request, facts, .. } = self.request;
        let ParsedRequest::Embeddings(request) = request else { return Err(of_another_api()) };
        if let Some(refusal) = self.request.unpriced(kind, target.allowed_fields) {
            return Err(refusal);
        }
        let api = provider_dialects::for_model(kind, target.model)
            .embeddings
            .as_ref()
            .ok_or_else(|| no_embeddings(&facts.model))?;
        if let Some(SharedDialect::OpenAi) = shortcut(*surface, kind) {
            return Ok(WrittenBody::complete(openai::renamed_body(body, &request.model, target.model)));
        }
        let translated = self.embeddings.get_or_init(|| request.embeddings(body));
        (api.request_body)(translated.as_ref().map_err(Clone::clone)?, target.model).map(WrittenBody::complete)
    }
}

/// The refusal of embeddings of a model whose providers have none.
pub fn no_embeddings(model: &str) -> Refusal {
    Refusal::invalid("model", format!("the providers of {:.100} have no embeddings", model))
}

/// The plan asks for the body of a request by what the request is, so that nobody gets this.
fn of_another_api() -> Refusal {
    Refusal::new(ErrorCode::Internal, "the request is of another API")
}

/// Names by which an upstream refuses a field, and the feature by which other surfaces than the native one name it.
const FEATURES: [(&str, Feature); 4] = [
    ("parallel_tool_calls", Feature::OneToolCall),
    ("reasoning.budget_tokens", Feature::ReasoningBudget),
    ("response_format", Feature::JsonSchema),
    ("tool_choice", Feature::ToolNamed),
];

fn name_of_feature(field: &str, surface: Surface) -> Option<String> {
    let (_, feature) = FEATURES.iter().find(|(name, _)| *name == field)?;
    // The upstream's own name says more than the feature's where it is right.
    (surface.spec().field_of)(*feature).filter(|name| !name.starts_with(field)).map(str::to_owned)
}

/// The refusal of a field by the name that the client has for it.
fn in_client_words(refusal: Refusal, request: &AnyRequest, surface: Surface, body: &[u8]) -> Refusal {
    let detail = |name: &str| refusal.details.get(name).and_then(serde_json::Value::as_str);
    let field =
        detail("field").and_then(|field| request.client_field(field, body).or_else(|| name_of_feature(field, surface)));
    match (field, detail("reason")) {
        (Some(field), Some(reason)) if refusal.code == ErrorCode::InvalidRequest => Refusal::invalid(field, reason),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests;
