//! The targets of models: the backends that can serve them, with what the model says of each.

use serde::{Deserialize, Serialize};

use crate::abilities::Abilities;
use crate::ids::{ProviderId, target_key};
use crate::maintenance::MaintenanceWindows;
use crate::named;
use crate::refused_parameters::RefusedParameters;
use crate::terms::StatedTerms;

/// One backend that can serve a frontend model. Limits are in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub provider_id: ProviderId,
    pub model: String,
    /// Unique within the model. Among targets of one priority, those with a name are tried first, in the order of their
    /// names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub priority: u32,
    pub weight: u32,
    #[serde(flatten)]
    pub window: StatedWindow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_max_output_tokens: Option<u64>,
    /// The tokenizer that the backend is known to use; absent if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<Tokenizer>,
    /// The operator's score, from 0 to 100, for the strategy `quality`; without one, it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u32>,
    /// How many calls the backend may have under way from one node; absent without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// When it is not called.
    #[serde(default, skip_serializing_if = "MaintenanceWindows::is_empty")]
    pub maintenance: MaintenanceWindows,
    #[serde(flatten)]
    pub facts: TargetFacts,
    #[serde(flatten)]
    pub terms: StatedTerms,
}

impl Target {
    /// The most tokens that any of its limits can say.
    pub const TOKENS_MAX: u64 = 100_000_000;

    /// See [`target_key`].
    pub fn key(&self) -> String {
        target_key(self.provider_id, &self.model)
    }

    /// A target without limits given.
    pub fn new(provider_id: ProviderId, model: impl Into<String>) -> Self {
        Self {
            provider_id,
            model: model.into(),
            name: None,
            priority: 0,
            weight: 1,
            window: StatedWindow::default(),
            max_output_tokens: None,
            default_max_output_tokens: None,
            tokenizer: None,
            quality: None,
            max_concurrent: None,
            maintenance: MaintenanceWindows::default(),
            facts: TargetFacts::UNKNOWN,
            terms: StatedTerms::NONE,
        }
    }
}

/// The context window of a target, as its model states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedWindow {
    /// The most tokens of a prompt.
    #[serde(rename = "context_window", default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Whether the output cap counts within it as well.
    #[serde(rename = "window_counts_output", default, skip_serializing_if = "std::ops::Not::not")]
    pub counts_output: bool,
}

/// The facts about the model behind a target, by who states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// The facts that the author of the target states.
    #[serde(flatten)]
    pub stated: StatedFacts,
    /// The facts that the catalogue stated when the targets were last given. They count where the author states none.
    #[serde(default, skip_serializing_if = "StatedFacts::is_unknown")]
    pub catalogued: StatedFacts,
}

impl TargetFacts {
    /// Nobody states anything.
    pub const UNKNOWN: Self = Self { stated: StatedFacts::UNKNOWN, catalogued: StatedFacts::UNKNOWN };

    pub fn abilities(&self) -> Abilities {
        self.stated.abilities.or(self.catalogued.abilities)
    }

    pub fn refused_parameters(&self) -> RefusedParameters {
        self.stated.refused_parameters.or(self.catalogued.refused_parameters).unwrap_or_default()
    }
}

/// Facts about a model, as one party states them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedFacts {
    #[serde(default, skip_serializing_if = "Abilities::is_unknown")]
    pub abilities: Abilities,
    /// `None` if nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_parameters: Option<RefusedParameters>,
}

impl StatedFacts {
    /// Nothing is stated.
    pub const UNKNOWN: Self = Self { abilities: Abilities::UNKNOWN, refused_parameters: None };

    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }
}

named! {
    /// A tokenizer with a public vocabulary.
    #[derive(PartialOrd, Ord)]
    pub enum Tokenizer {
        O200kBase = "o200k_base",
        Cl100kBase = "cl100k_base",
    }
}
