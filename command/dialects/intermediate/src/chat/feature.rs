//! Features: what a request can ask for and not every dialect can express. Each upstream states how it treats each of
//! them, so that nothing is lost on the way unnoticed; `docs/dialects.md` shows the table.

use events::refusal::Refusal;

use super::{
    Block, ChatRequest, ImageSource, ReasoningAmount, ReasoningBlock, ResponseFormat, Tool, ToolCall, ToolChoice,
};

macro_rules! features {
    ($($feature:ident = $name:literal, $description:literal,)+) => {
        /// Something that a request can ask for and that some dialect cannot express.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Feature { $($feature,)+ }

        impl Feature {
            pub const ALL: &[Self] = &[$(Self::$feature),+];

            /// Name in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$feature => $name,)+ }
            }

            /// A noun phrase in the singular, for documents and refusals.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$feature => $description,)+ }
            }
        }
    };
}

features! {
    TopK = "top_k", "sampling among the most probable tokens",
    Seed = "seed", "a seed",
    FrequencyPenalty = "frequency_penalty", "a penalty for frequent tokens",
    PresencePenalty = "presence_penalty", "a penalty for tokens that have occurred",
    LogitBias = "logit_bias", "a bias for single tokens",
    Logprobs = "logprobs", "the log probability of each token",
    Choices = "choices", "more than one choice",
    ToolRequired = "tool_required", "a tool call that is required",
    ToolNamed = "tool_named", "a required call of a certain tool",
    OneToolCall = "one_tool_call", "a limit of one tool call",
    StrictTools = "strict_tools", "a tool whose arguments must satisfy its schema",
    JsonObject = "json_object", "output that is any JSON object",
    JsonSchema = "json_schema", "output by a JSON Schema",
    ReasoningEffort = "reasoning_effort", "a reasoning effort",
    ReasoningBudget = "reasoning_budget", "a thinking budget",
    ReasoningAdaptive = "reasoning_adaptive", "thinking as much as the model decides",
    ReasoningOff = "reasoning_off", "thinking that is switched off",
    ReasoningDisplay = "reasoning_display", "how thoughts are shown",
    ToolHints = "tool_hints", "examples and deferred loading of tools",
    EarlierReasoning = "earlier_reasoning", "earlier reasoning as text, sent back",
    SignedReasoning = "signed_reasoning", "earlier reasoning with a signature or encrypted, sent back",
    SignedCall = "signed_call", "an earlier tool call with a signature, sent back",
    Document = "document", "a document",
    CachePoint = "cache_point", "a cache breakpoint",
    ImageUrl = "image_url", "an image by URL",
    InlineImage = "inline_image", "an image in the request",
    ImageDetail = "image_detail", "the resolution of an image",
    ToolImage = "tool_image", "an image in the result of a tool",
    ToolError = "tool_error", "the mark of a failed tool",
    User = "user", "the client's name for its user",
    ServiceTier = "service_tier", "a service tier that the price has",
}

/// How an upstream treats a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Translated,
    /// Left out, because the answer is a good one without it.
    Ignored,
    /// The request is refused for this target.
    Refused,
}

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet(u64);

impl FeatureSet {
    pub const EMPTY: Self = Self(0);

    pub const fn of(mut features: &[Feature]) -> Self {
        let mut set = Self::EMPTY;
        while let [feature, rest @ ..] = features {
            set.add(*feature);
            features = rest;
        }
        set
    }

    pub const fn add(&mut self, feature: Feature) {
        self.0 |= 1 << feature as u64;
    }

    pub const fn contains(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u64) != 0
    }

    /// Those of the set for which this holds.
    pub fn filtered(self, holds: impl Fn(Feature) -> bool) -> Self {
        let mut filtered = Self::default();
        self.iter().filter(|feature| holds(*feature)).for_each(|feature| filtered.add(feature));
        filtered
    }

    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.iter().copied().filter(move |feature| self.contains(*feature))
    }
}

const _: () = assert!(Feature::ALL.len() <= 64);

/// The features by their treatment.
pub struct Treatments {
    pub translated: FeatureSet,
    pub ignored: FeatureSet,
    pub refused: FeatureSet,
}

impl Treatments {
    /// Stops the compiler if a feature has no treatment, or two.
    #[must_use]
    pub const fn checked(self) -> Self {
        let [translated, ignored, refused] = [self.translated.0, self.ignored.0, self.refused.0];
        let is_in_one = translated & ignored == 0 && (translated | ignored) & refused == 0;
        assert!(is_in_one && translated | ignored | refused == FeatureSet::of(Feature::ALL).0);
        self
    }

    pub const fn of(&self, feature: Feature) -> Treatment {
        match feature {
            _ if self.translated.contains(feature) => Treatment::Translated,
            _ if self.ignored.contains(feature) => Treatment::Ignored,
            _ => Treatment::Refused,
        }
    }
}

impl ChatRequest {
    /// The features that the request uses.
    pub fn features(&self) -> FeatureSet {
        let mut used = FeatureSet::default();
        let mut note = |feature, is_used: bool| {
            if is_used {
                used.add(feature);
            }
        };
        let sampling = &self.sampling;
        note(Feature::TopK, sampling.top_k.is_some());
        note(Feature::Seed, sampling.seed.is_some());
        note(Feature::FrequencyPenalty, sampling.frequency_penalty.is_some());
        note(Feature::PresencePenalty, sampling.presence_penalty.is_some());
        note(Feature::LogitBias, sampling.logit_bias.is_some());
        note(Feature::Logprobs, self.logprobs.is_some());
        note(Feature::Choices, self.choices > 1);
        note(Feature::ToolRequired, self.tool_choice == Some(ToolChoice::Required));
        note(Feature::ToolNamed, matches!(self.tool_choice, Some(ToolChoice::Named(_))));
        note(Feature::OneToolCall, self.parallel_tool_calls == Some(false) && !self.tools.is_empty());
        note(Feature::StrictTools, self.tools.iter().any(|Tool { strict, .. }| *strict == Some(true)));
        note(Feature::JsonObject, matches!(self.response_format, Some(ResponseFormat::JsonObject)));
        note(Feature::JsonSchema, matches!(self.response_format, Some(ResponseFormat::JsonSchema { .. })));
        note(Feature::CachePoint, self.tools.iter().any(|tool| tool.cache_point.is_some()));
        if let Some(reasoning) = &self.reasoning {
            let amount = reasoning.amount();
            note(Feature::ReasoningAdaptive, reasoning.is_left_to_the_model());
            note(Feature::ReasoningOff, reasoning.is_switched_off());
            note(Feature::ReasoningDisplay, reasoning.display.is_some());
            note(Feature::ReasoningBudget, matches!(amount, Some(ReasoningAmount::BudgetTokens(_))));
            let is_effort = matches!(amount, Some(ReasoningAmount::Effort(_)));
            note(Feature::ReasoningEffort, is_effort && !reasoning.is_switched_off());
        }
        note(Feature::ToolHints, self.tools.iter().any(|tool| tool.has_hints));
        note(Feature::User, self.user.is_some());
        note(Feature::ServiceTier, self.service_tier.is_some());
        for block in self.messages.iter().flat_map(|message| &message.content) {
            used.add_block(block);
        }
        used
    }
}

impl FeatureSet {
    fn add_block(&mut self, block: &Block) {
        match block {
            Block::Image(image) => {
                self.add(match image.source {
                    ImageSource::Url(_) => Feature::ImageUrl,
                    ImageSource::Inline { .. } => Feature::InlineImage,
                });
                if image.detail.is_some() {
                    self.add(Feature::ImageDetail);
                }
            }
            Block::ToolResult(result) => {
                if result.is_error {
                    self.add(Feature::ToolError);
                }
                for inside in &result.content {
                    self.add_block(inside);
                    if matches!(inside, Block::Image(_)) {
                        self.add(Feature::ToolImage);
                    }
                }
            }
            Block::Reasoning(ReasoningBlock { signature: None, redacted: None, .. }) => {
                self.add(Feature::EarlierReasoning)
            }
            Block::Reasoning(_) => self.add(Feature::SignedReasoning),
            Block::Document(_) => self.add(Feature::Document),
            Block::CachePoint(_) => self.add(Feature::CachePoint),
            Block::ToolCall(ToolCall { signature: Some(_), .. }) => self.add(Feature::SignedCall),
            Block::Text(_) | Block::ToolCall(_) => {}
        }
    }
}

/// The refusal of a feature that a target's dialect cannot express. `field` is the client's name for it.
pub fn not_expressible(feature: Feature, field: &str, dialect: &str) -> Refusal {
    let what = feature.description();
    let reason = format!("{what}: this has no counterpart in the dialect of the model's provider, {dialect}");
    Refusal::invalid(field, reason)
}
