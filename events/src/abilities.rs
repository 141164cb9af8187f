//! The abilities of targets. Whoever makes a model states it of each target; what nobody has stated is unknown, and a target of
//! which an ability is unknown may serve.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::named;
use crate::named_set::NamedSet;

named! {
    /// Something that a request can need of a target.
    pub enum Ability {
        Text = "text",
        Image = "image",
        Audio = "audio",
        Document = "document",
        Tools = "tools",
        ParallelTools = "parallel_tools",
        StructuredOutput = "structured_output",
        Reasoning = "reasoning",
        Streaming = "streaming",
        Choices = "n",
        Logprobs = "logprobs",
        Chat = "chat",
        Responses = "responses",
        Embeddings = "embeddings",
        Completions = "completions",
    }
}

/// A list of a target's abilities: what it lacks of a list that is stated, the target cannot do.
pub struct AbilityList {
    pub name: &'static str,
    pub of: &'static [Ability],
}

/// A set of abilities.
pub type AbilitySet = NamedSet<Ability>;

/// The abilities that are stated of a target.
///
/// On the wire an object: `{"inputs":["text","image"],"tools":true,"endpoints":["chat"]}`. A list states all of its kind, and what is
/// absent is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    stated: AbilitySet,
    /// Those of the stated ones that it has.
    able: AbilitySet,
}

impl Abilities {
    /// Nothing is stated.
    pub const UNKNOWN: Self = Self { stated: AbilitySet::NONE, able: AbilitySet::NONE };
    pub const INPUTS: &'static [Ability] = &[Ability::Text, Ability::Image, Ability::Audio, Ability::Document];
    pub const LISTS: &'static [AbilityList; 2] = &[
        AbilityList { name: "inputs", of: Self::INPUTS },
        AbilityList {
            name: "endpoints",
            of: &[Ability::Chat, Ability::Responses, Ability::Embeddings, Ability::Completions],
        },
    ];

    /// The abilities that are stated one by one, and not in a list.
    pub fn single() -> impl Iterator<Item = Ability> {
        let is_single = |ability: &Ability| !Self::LISTS.iter().any(|list| list.of.contains(ability));
        Ability::ALL.iter().copied().filter(is_single)
    }

    pub fn is_unknown(&self) -> bool {
        *self == Self::UNKNOWN
    }

    /// Whether the target has the ability; `None` if that is unknown.
    pub fn has(self, ability: Ability) -> Option<bool> {
        if self.stated.has(ability) { Some(self.able.has(ability)) } else { None }
    }

    /// Those of the needed ones that the target is stated not to have.
    pub fn lacks_of(self, needed: AbilitySet) -> AbilitySet {
        needed.both(self.stated.without(self.able))
    }

    /// These, and what others state where nothing is stated here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { stated: self.stated.union(others.stated), able: self.able.union(others.able.without(self.stated)) }
    }

    #[must_use]
    pub fn stating(self, ability: Ability, is_able: bool) -> Self {
        let able = if is_able { self.able.with(ability) } else { self.able.without(AbilitySet::NONE.with(ability)) };
        Self { stated: self.stated.with(ability), able }
    }

    /// States which of these the target has: those that are named, and no others.
    #[must_use]
    pub fn stating_list(self, all: &[Ability], named: &[Ability]) -> Self {
        all.iter().fold(self, |abilities, ability| abilities.stating(*ability, named.contains(ability)))
    }

    /// The object that states them.
    pub fn shown(self) -> Value {
        let mut members = Map::new();
        for AbilityList { name, of } in Self::LISTS {
            if of.iter().any(|ability| self.stated.has(*ability)) {
                let words = of.iter().filter(|ability| self.able.has(**ability)).map(|ability| ability.as_str());
                members.insert((*name).to_owned(), words.collect());
            }
        }
        for ability in Self::single() {
            members.extend(self.has(ability).map(|is_able| (ability.as_str().to_owned(), is_able.into())));
        }
        Value::Object(members)
    }

    /// Reads such an object. What a later version states beside is left out.
    fn read(members: &Map<String, Value>) -> Result<Self, String> {
        let mut abilities = Self::UNKNOWN;
        for AbilityList { name, of } in Self::LISTS {
            let Some(list) = members.get(*name) else { continue };
            let list = list.as_array().ok_or_else(|| format!("{name} is no list"))?;
            let named: Vec<_> = list.iter().filter_map(Value::as_str).filter_map(Ability::parse).collect();
            abilities = abilities.stating_list(of, &named);
        }
        for ability in Self::single() {
            let Some(is_able) = members.get(ability.as_str()) else { continue };
            let is_able = is_able.as_bool().ok_or_else(|| format!("{ability} is neither true nor false"))?;
            abilities = abilities.stating(ability, is_able);
        }
        Ok(abilities)
    }
}

impl Serialize for Abilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Abilities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(deserializer)?;
        Self::read(&members).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Abilities {
        serde_json::from_value(value).expect("abilities")
    }

    #[test]
    fn what_is_stated_is_shown_again_and_the_rest_is_unknown() {
        for stated in [
            json!({}),
            json!({ "inputs": ["text", "image"], "tools": true }),
            json!({ "inputs": [], "endpoints": ["embeddings"], "n": false, "logprobs": true }),
        ] {
            assert_eq!(json!(read(stated.clone())), stated);
        }
        let some = read(json!({ "inputs": ["text"], "tools": false, "of_later_times": 7 }));
        let has = |ability| some.has(ability);
        assert_eq!(
            (has(Ability::Text), has(Ability::Image), has(Ability::Tools)),
            (Some(true), Some(false), Some(false))
        );
        assert_eq!((has(Ability::Reasoning), has(Ability::Chat)), (None, None));
        for broken in [json!({ "inputs": "text" }), json!({ "tools": 1 }), json!([])] {
            assert!(serde_json::from_value::<Abilities>(broken).is_err());
        }
    }

    #[test]
    fn only_what_is_stated_to_be_absent_is_lacked() {
        let needed: AbilitySet = [Ability::Image, Ability::Tools, Ability::Reasoning].into_iter().collect();
        let some = read(json!({ "inputs": ["text"], "tools": true }));
        assert_eq!(some.lacks_of(needed).to_string(), "image");
        assert!(Abilities::UNKNOWN.lacks_of(needed).is_empty());
    }
}
