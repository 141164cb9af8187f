//! A model of the document, as one provider serves it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use events::abilities::{Abilities, Ability};
use events::event::admin::StatedFacts;
use events::named;
use events::refused_parameters::{RefusedParameter, RefusedParameters};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;

use crate::price::Price;
use crate::unique_map::unique_map;

/// A model of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The id of its provider.
    pub provider: String,
    /// The name sent upstream as the model. Unique for each provider.
    pub model: String,
    /// The bare name that clients ask for, which the same model has at all providers. Absent where that would be a guess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub mode: Mode,
    /// Where an inference profile serves it, such as `us`. Models of one provider and name differ in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geography: Option<String>,
    /// The most tokens of a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// The width of an embedding's vectors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
    #[serde(default, skip_serializing_if = "ModelFacts::is_nothing")]
    pub facts: ModelFacts,
    /// Its known capabilities, in the order of the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// The day from which its provider does not serve it any more: it is deprecated before, and retired from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated_on: Option<NaiveDate>,
    /// The model of the same provider that the provider recommends in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
    /// True if it searches for every answer, whatever the request says, so that its tokens are not its whole cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_searches: bool,
    /// Absent if it is not known: that is not free of charge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The price in regions where it is another one.
    #[serde(default, deserialize_with = "unique_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub regional_prices: BTreeMap<String, Price>,
}

/// The facts about a model that no list has, and that people keep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Whether the output cap counts within the context window as well.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub window_counts_output: bool,
    /// Abilities beside the capabilities, above all those that it lacks.
    #[serde(default, deserialize_with = "known_abilities", skip_serializing_if = "Abilities::is_unknown")]
    pub abilities: Abilities,
    /// The parameters that it refuses; absent if that is not known.
    #[serde(default, deserialize_with = "consistent_parameters", skip_serializing_if = "Option::is_none")]
    pub refused_parameters: Option<Vec<RefusedParameter>>,
}

named! {
    /// The API by which its provider serves a model.
    #[derive(PartialOrd, Ord)]
    pub enum Mode {
        Chat = "chat",
        Completion = "completion",
        /// OpenAI's Responses alone, which the gateway does not call.
        Responses = "responses",
        Embedding = "embedding",
    }
}

named! {
    /// Something that a model can do.
    #[derive(PartialOrd, Ord)]
    pub enum Capability {
        AudioIn = "audio_in",
        AudioOut = "audio_out",
        ComputerUse = "computer_use",
        EmbedImage = "embed_image",
        JsonSchema = "json_schema",
        ParallelTools = "parallel_tools",
        Pdf = "pdf",
        Prefill = "prefill",
        PromptCaching = "prompt_caching",
        Reasoning = "reasoning",
        System = "system",
        ToolChoice = "tool_choice",
        Tools = "tools",
        VideoIn = "video_in",
        Vision = "vision",
        WebSearch = "web_search",
    }
}

impl ModelFacts {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Model {
    /// True if it does not answer any more on this day.
    pub fn is_retired(&self, on: NaiveDate) -> bool {
        self.deprecated_on.is_some_and(|day| day <= on)
    }

    /// True if it still answers on this day, and the day is known from which it does not.
    pub fn is_deprecated(&self, on: NaiveDate) -> bool {
        self.deprecated_on.is_some_and(|day| day > on)
    }

    /// True if the price has all that is charged for a plain request: also the searches, where it always makes some.
    pub fn is_whole(&self, price: &Price) -> bool {
        !self.always_searches || price.request_usd.is_some() || price.search_usd.is_some()
    }

    /// The facts of a target of it: those of the document, and those that its mode and its capabilities say.
    pub fn stated_facts(&self) -> StatedFacts {
        let [inputs, endpoints] = Abilities::LISTS;
        let by_mode = match self.mode {
            Mode::Chat => Abilities::UNKNOWN.stating_list(endpoints.of, &[Ability::Chat]),
            // Several providers serve such models by chats as well.
            Mode::Completion => Abilities::UNKNOWN,
            Mode::Responses => Abilities::UNKNOWN.stating_list(endpoints.of, &[Ability::Responses]),
            Mode::Embedding => Abilities::UNKNOWN.stating_list(endpoints.of, &[Ability::Embeddings]),
        };
        let takes_text_alone = self.mode == Mode::Embedding && !self.capabilities.contains(&Capability::EmbedImage);
        let by_mode = if takes_text_alone { by_mode.stating_list(inputs.of, &[Ability::Text]) } else { by_mode };
        let has = |capability: &Capability| match capability {
            Capability::JsonSchema => Some(Ability::StructuredOutput),
            Capability::ParallelTools => Some(Ability::ParallelTools),
            Capability::Reasoning => Some(Ability::Reasoning),
            Capability::Tools => Some(Ability::Tools),
            // Inputs are stated as a list, and these do not say that there are no others.
            _ => None,
        };
        let known = self.capabilities.iter().filter_map(has).fold(by_mode, |known, has| known.stating(has, true));
        let refused = self.facts.refused_parameters.as_ref().map(|all| all.iter().copied().collect());
        StatedFacts { abilities: self.facts.abilities.or(known), refused_parameters: refused }
    }

    /// The price in a region, or the one that holds everywhere else.
    pub fn price_in(&self, region: &str) -> Option<&Price> {
        self.regional_prices.get(region).or(self.price.as_ref())
    }
}

/// A target cannot state parameters that contradict each other.
fn consistent_parameters<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<RefusedParameter>>, D::Error> {
    let all = Option::<Vec<RefusedParameter>>::deserialize(deserializer)?;
    let refused: RefusedParameters = all.iter().flatten().copied().collect();
    refused.contradiction().map_or(Ok(all), |reason| Err(D::Error::custom(format!("refused_parameters {reason}"))))
}

/// A word that is not known is misspelt: a document of a later version has another `schema`.
fn known_abilities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Abilities, D::Error> {
    Abilities::read_all(&Map::deserialize(deserializer)?).map_err(D::Error::custom)
}
