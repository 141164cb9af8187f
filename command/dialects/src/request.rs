//! What a client sent: checked once, then asked for its facts and for the body that each target needs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use events::refusal::Refusal;

use super::OutboundTarget;
use super::facts::{Facts, Images, RequestedCap};
use super::fields::Path;
use super::passthrough::openai::edited_body;
use super::passthrough::shortcut;
use super::shared_dialect::SharedDialect;
use super::surfaces::{AnyRequest, Surface};
use super::upstreams::{self, ProviderKind};

/// The most tokens that one image may be billed at. The dearest published rule is OpenAI's for gpt-4o-mini: 2,833
/// tokens and 5,667 for each of at most 8 tiles (2048 by 768 pixels in tiles of 512). Others are far below: Together
/// 6,404, Anthropic 4,784. No provider's use of `detail` is relied on.
pub const IMAGE_TOKENS_MAX: u64 = 2_833 + 8 * 5_667;

/// What a provider adds of its own where there are tools or an output format: Anthropic's tool-use prompt is published
/// at up to 530 tokens, and its prompt for structured output comes on top without a figure.
pub const TOOL_PROMPT_TOKENS_MAX: u64 = 1_024;

/// What a chat template adds of its own to every prompt: dates, channels, a default system prompt. Some 70 tokens in
/// gpt-oss's, 30 in Llama's. The template's share of each message is covered by the JSON around it.
pub const TEMPLATE_TOKENS_MAX: u64 = 128;

/// A chat request as it was received, known to be well formed and priceable.
pub struct ClientRequest {
    surface: Surface,
    body: Bytes,
    facts: Facts,
    request: AnyRequest,
}

impl ClientRequest {
    /// Checks a body of at most 32 MiB. Errors: `INVALID_REQUEST` for what is malformed, `MODEL_UNPRICED` for parts of
    /// messages that have no price. Fields that change the cost are refused by [`Self::unpriced`].
    pub fn parse(surface: Surface, body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        let (facts, request) = AnyRequest::read(surface, text)?;
        Ok(Self { surface, body, facts, request })
    }

    pub const fn surface(&self) -> Surface {
        self.surface
    }

    /// The frontend model that is asked for.
    pub fn model(&self) -> &str {
        &self.facts.model
    }

    pub const fn streamed(&self) -> bool {
        self.facts.streamed
    }

    /// Whether the client of an OpenAI stream wants the usage chunk.
    pub const fn include_usage(&self) -> bool {
        self.facts.include_usage
    }

    pub const fn output_cap(&self) -> RequestedCap {
        self.facts.output_cap
    }

    /// How much of an output cap the client's own fields take up before there is room for an answer: one that is not
    /// above it would be refused upstream.
    pub const fn output_tokens_needed(&self) -> u64 {
        self.facts.output_tokens_needed
    }

    /// How many answers are asked for: 1 to 128. The cap holds for each.
    pub const fn choices(&self) -> u64 {
        self.facts.choices
    }

    /// At most 16 pairs.
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.facts.metadata
    }

    /// As it was received; empty once what was read is forgotten.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Drops the body as it was received where all that is still needed was read from it. From then on
    /// [`Self::body`] is empty, and [`Self::input_tokens_bound`] bounds nothing.
    pub fn forget_what_was_read(&mut self) {
        if !self.request.needs_body() {
            self.body = Bytes::new();
        }
    }

    /// Upper bound of the prompt's tokens: a token is at least one byte of the body. Base64 of images is taken out and
    /// their dearest published price put in, with what templates and tool prompts add. A target's `system_prefix` is
    /// not in it: add its bytes.
    pub fn input_tokens_bound(&self) -> u64 {
        let Images { count, base64_bytes } = self.facts.images;
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        let tool_prompt = if self.facts.has_tools { TOOL_PROMPT_TOKENS_MAX } else { 0 };
        bytes
            .saturating_sub(base64_bytes)
            .saturating_add(count.saturating_mul(IMAGE_TOKENS_MAX))
            .saturating_add(TEMPLATE_TOKENS_MAX + tool_prompt)
    }

    /// `MODEL_UNPRICED` for the first field that changes what the request costs and is not among those that a provider's
    /// row allows: service tiers, other models, searches, input from elsewhere, other caps.
    pub fn unpriced(&self, allowed: &BTreeSet<String>) -> Option<&Refusal> {
        let refused = self.facts.unpriced.iter().find(|field| !allowed.contains(field.name));
        refused.map(|field| &field.refusal)
    }

    /// The body for one target. From the OpenAI surface to an OpenAI-compatible target the client's bytes are edited
    /// in place; everything else is translated. Errors: as [`Self::unpriced`], and `INVALID_REQUEST` for what the
    /// target's dialect has no counterpart for and whose loss would change what is answered; what is left out knowingly
    /// is listed at each dialect.
    pub fn upstream_body(&self, kind: ProviderKind, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
        if let Some(refusal) = self.unpriced(target.allowed_fields) {
            return Err(refusal.clone());
        }
        match (shortcut(self.surface, kind), &self.request) {
            (Some(SharedDialect::OpenAi), AnyRequest::OpenAi(places)) => {
                Ok(edited_body(&self.body, places, self.facts.streamed, target))
            }
            (_, request) => (upstreams::of(kind).request_body)(&*request.chat(&self.body)?, target),
        }
    }
}

#[cfg(test)]
mod tests;
