//! The abilities of targets. Whoever makes a model states them of each target, and the catalogue those of its models; what neither states
//! is unknown, and a target of which an ability is unknown may serve.

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
        if self.stated.contains(ability) { Some(self.able.contains(ability)) } else { None }
    }

    /// Those of the needed ones that the target is stated not to have.
    pub fn lacks_of(self, needed: AbilitySet) -> AbilitySet {
        needed.intersection(self.stated.difference(self.able))
    }

    /// These, and what others state where nothing is stated here.
    #[must_use]
    pub fn or(self, others: Self) -> Self {
        Self { stated: self.stated.union(others.stated), able: self.able.union(others.able.difference(self.stated)) }
    }

    #[must_use]
    pub fn stating(self, ability: Ability, is_able: bool) -> Self {
        let able = if is_able { self.able.with(ability) } else { self.able.difference(AbilitySet::NONE.with(ability)) };
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
            if of.iter().any(|ability| self.stated.contains(*ability)) {
                let words = of.iter().filter(|ability| self.able.contains(**ability)).map(|ability| ability.as_str());
                members.insert((*name).to_owned(), words.collect());
            }
        }
        for ability in Self::single() {
            members.extend(self.has(ability).map(|is_able| (ability.as_str().to_owned(), is_able.into())));
        }
        Value::Object(members)
    }

    /// Reads such an object of which every word is to be known.
    ///
    /// Errors: what is wrong with it.
    pub fn read_all(members: &Map<String, Value>) -> Result<Self, String> {
        let is_known = |name: &String| {
            Self::LISTS.iter().any(|list| list.name == name) || Self::single().any(|ability| ability.as_str() == name)
        };
        if let Some(unknown) = members.keys().find(|name| !is_known(name)) {
            return Err(format!("{unknown:.64} is no ability"));
        }
        for AbilityList { name, of } in Self::LISTS {
            let words = members.get(*name).and_then(Value::as_array).into_iter().flatten();
            let is_known = |word: &&Value| of.iter().any(|ability| word.as_str() == Some(ability.as_str()));
            if let Some(unknown) = words.clone().find(|word| !is_known(word)) {
                return Err(format!("{name} has {:.64}, which is none of these", unknown.to_string()));
            }
        }
        Self::read(members)
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

    /// Digests of requests have abilities in this order.
    #[test]
    fn the_page_of_routing_has_the_abilities_in_their_order() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/routing.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let order: Vec<_> = Ability::words().map(|word| format!("`{word}`")).collect();
        assert!(page.contains(&order.join(" ")), "{}", order.join(" "));
    }

    #[test]
    fn words_of_a_document_that_is_not_of_a_later_version_are_all_known() {
        let read_all = |value: Value| Abilities::read_all(value.as_object().expect("an object"));
        assert_eq!(read_all(json!({ "inputs": ["image", "text"] })), Ok(read(json!({ "inputs": ["text", "image"] }))));
        assert_eq!(read_all(json!({ "smell": true })), Err("smell is no ability".to_owned()));
        assert!(read_all(json!({ "inputs": ["smell"] })).is_err() && read_all(json!({ "tools": 1 })).is_err());
    }

    #[test]
    fn only_what_is_stated_to_be_absent_is_lacked() {
        let needed: AbilitySet = [Ability::Image, Ability::Tools, Ability::Reasoning].into_iter().collect();
        let some = read(json!({ "inputs": ["text"], "tools": true }));
        assert_eq!(some.lacks_of(needed).to_string(), "image");
        assert!(Abilities::UNKNOWN.lacks_of(needed).is_empty());
    }
}
