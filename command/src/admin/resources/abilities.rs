//! The field `abilities` of targets.

use events::abilities::{Abilities, Ability, AbilityList};
use events::named::NamedValue;
use openapi::schema::{Shape, nullable, object};

use super::prelude::*;

/// The field, for a target.
pub fn abilities() -> Member {
    let shape = shape();
    optional("abilities", FieldType::new(shape.clone(), read)).shown_as(shape).meaning(
        "The abilities of the backend. The catalogue fills in what is absent or null; what neither states is unknown, and serves; false, or absence from a list that is given, leaves the \
         target out of requests that need it",
    )
}

/// The published schema of abilities.
pub fn shape() -> Shape {
    let lists = Abilities::LISTS.iter().fold(object(), |fields, AbilityList { name, of }| {
        let words = schema::one_of(of.iter().map(|ability| ability.as_str()));
        fields.optional_as(name, nullable(schema::list(words, Some(of.len()))), "All that it has of these")
    });
    let single = Abilities::single();
    single.fold(lists, |fields, ability| fields.optional(ability.as_str(), nullable(schema::boolean()))).closed()
}

fn read(field: Field) -> Result<Abilities, FieldError> {
    let names: Vec<&str> =
        Abilities::LISTS.iter().map(|list| list.name).chain(Abilities::single().map(Ability::as_str)).collect();
    let mut fields = field.object()?.refuse_unknown(&names)?;
    let mut abilities = Abilities::UNKNOWN;
    for AbilityList { name, of } in Abilities::LISTS {
        let words: Vec<_> = of.iter().map(|ability| NamedValue::new(ability.as_str(), *ability)).collect();
        let given = fields.optional(name, |field| field.list(of.len(), |item| item.one_of(&words)))?;
        abilities = given.map_or(abilities, |named| abilities.stating_list(of, &named));
    }
    for ability in Abilities::single() {
        let given = fields.optional(ability.as_str(), Field::boolean)?;
        abilities = given.map_or(abilities, |is_able| abilities.stating(ability, is_able));
    }
    fields.finish()?;
    Ok(abilities)
}
