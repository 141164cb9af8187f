//! What a surface finds out about a request, free of any dialect.

use std::collections::BTreeMap;

use events::refusal::Refusal;

use crate::chat::{Block, ImageSource};

/// What the pipeline needs to know of a request, whatever its surface.
pub struct Facts {
    pub model: String,
    pub streamed: bool,
    /// The client asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
    pub output_cap: RequestedCap,
    /// What the client's own fields need of an output cap: a budget to think in, a least length.
    pub output_tokens_needed: u64,
    pub choices: u64,
    pub metadata: BTreeMap<String, String>,
    pub images: Images,
    /// Tools or an output format are there.
    pub has_tools: bool,
    /// Fields that change the cost.
    pub unpriced: Vec<Unpriced>,
}

/// The output cap as a client gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedCap {
    /// What the client calls it, for refusals that are about it.
    pub field: &'static str,
    /// From 1 to [`OUTPUT_TOKENS_MAX`](crate::chat::read::OUTPUT_TOKENS_MAX); `None` where it gave none, or null.
    pub tokens: Option<u64>,
}

impl RequestedCap {
    pub fn refuse(self, reason: impl Into<String>) -> Refusal {
        Refusal::invalid(self.field, reason)
    }
}

/// Images of a request: how many, and how many bytes of the body are their base64.
#[derive(Clone, Copy, Default)]
pub struct Images {
    pub count: u64,
    pub base64_bytes: u64,
}

/// A field that only a provider whose row allows it may be sent.
#[derive(Debug)]
pub struct Unpriced {
    pub name: &'static str,
    pub refusal: Refusal,
}

impl Images {
    /// With those in these blocks, and in the tool results among them.
    pub fn of(self, blocks: &[Block]) -> Self {
        blocks.iter().fold(self, |images, block| match block {
            Block::Image(image) => images.and(match &image.source {
                ImageSource::Url(_) => 0,
                ImageSource::Inline { base64, .. } => base64.len(),
            }),
            Block::ToolResult(result) => images.of(&result.content),
            Block::Text(_) | Block::ToolCall(_) | Block::Reasoning(_) => images,
        })
    }

    /// With one more, of which so many bytes are base64.
    pub fn and(self, base64_bytes: usize) -> Self {
        let base64_bytes = u64::try_from(base64_bytes).unwrap_or(0);
        Self { count: self.count + 1, base64_bytes: self.base64_bytes.saturating_add(base64_bytes) }
    }
}
