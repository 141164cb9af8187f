//! The changes of an import, as JSON. Lists are cut, and say how much was left out.

use built_in_catalogue::{Catalogue, Difference, Model, rate_changes};
use chrono::NaiveDate;
use serde_json::{Map, Value, json};

/// The most models in a list.
pub const ITEMS_MAX: usize = 100;
/// The most amounts that are shown of one price.
pub const AMOUNTS_MAX: usize = 40;

/// The providers of a document that are not those of the release, whose providers are used instead.
pub fn providers_not_used(document: &Catalogue) -> Value {
    list(Catalogue::shipped().differing_providers(document).into_iter(), |id| json!(id))
}

/// The models and prices in which two catalogues differ. Of models with another end, those that still answer today are apart from
/// those that do not.
pub fn difference(older: &Catalogue, newer: &Catalogue, today: NaiveDate) -> Map<String, Value> {
    let difference = Difference::between(older, newer);
    let in_both = || difference.repriced.iter().chain(&difference.changed).copied();
    let has_price = |model: &Model| model.price.is_some() || !model.regional_prices.is_empty();
    let priced = difference.repriced.iter().filter(|(before, after)| !has_price(before) && has_price(after));
    let unpriced = difference.repriced.iter().filter(|(before, after)| has_price(before) && !has_price(after));
    let new_prices =
        difference.new.iter().copied().filter(|model| has_price(model)).chain(priced.map(|(_, after)| *after));
    let gone_prices =
        difference.gone.iter().copied().filter(|model| has_price(model)).chain(unpriced.map(|(before, _)| *before));
    let changed = difference.repriced.iter().filter(|(before, after)| has_price(before) && has_price(after));
    let changed = changed.filter(|(before, after)| !rate_changes(before, after).is_empty());
    let ending =
        || in_both().filter(|(before, after)| before.deprecated_on != after.deprecated_on).map(|(_, after)| after);
    let deprecated = ending().filter(|model| model.is_deprecated(today));
    let retired = ending().filter(|model| model.is_retired(today));
    let members = json!({
        "from_version": older.version(),
        "to_version": newer.version(),
        "prices": {
            "new": list(new_prices, priced_model),
            "changed": list(changed, |(before, after)| changed_price(before, after)),
            "gone": list(gone_prices, |model| Value::Object(named(model))),
        },
        "models": {
            "new": list(difference.new.iter(), |model| Value::Object(named(model))),
            "gone": list(difference.gone.iter(), |model| Value::Object(named(model))),
            "deprecated": list(deprecated, ending_model),
            "retired": list(retired, ending_model),
        },
    });
    if let Value::Object(members) = members { members } else { Map::new() }
}

fn list<T>(found: impl Iterator<Item = T>, shown: impl Fn(T) -> Value) -> Value {
    let (mut items, mut count) = (Vec::new(), 0_usize);
    for each in found {
        if count < ITEMS_MAX {
            items.push(shown(each));
        }
        count += 1;
    }
    json!({ "count": count, "more": count - items.len(), "items": items })
}

fn named(model: &Model) -> Map<String, Value> {
    Map::from_iter([
        ("provider".to_owned(), model.provider.as_str().into()),
        ("model".to_owned(), model.model.as_str().into()),
    ])
}

fn ending_model(model: &Model) -> Value {
    let mut shown = named(model);
    shown.insert("deprecated_on".to_owned(), json!(model.deprecated_on));
    if let Some(successor) = &model.successor {
        shown.insert("successor".to_owned(), successor.as_str().into());
    }
    shown.into()
}

/// A new price is shown as a change of everything from nothing.
fn priced_model(model: &Model) -> Value {
    changed_price(&Model { price: None, regional_prices: std::collections::BTreeMap::new(), ..model.clone() }, model)
}

fn changed_price(before: &Model, after: &Model) -> Value {
    let changes = rate_changes(before, after);
    let mut shown = named(after);
    let amounts = changes.get(..AMOUNTS_MAX).unwrap_or(&changes);
    shown.insert("more_amounts".to_owned(), (changes.len() - amounts.len()).into());
    shown.insert("amounts".to_owned(), json!(amounts));
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(day: &str, models: &str) -> Catalogue {
        let text = format!(
            r#"{{"schema":1,"version":"{day}","sources":[],"aliases":{{}},"providers":[{{"id":"a","name":"A",
            "kind":"openai","documentation":"https://a.example","key_variables":[]}}],"models":[{models}]}}"#
        );
        Catalogue::parse(&text).unwrap()
    }

    fn model(name: &str, more: &str) -> String {
        format!(r#"{{"provider":"a","model":"{name}","mode":"chat"{more}}}"#)
    }

    const PRICE: &str = r#","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"2"}"#;

    #[test]
    fn what_is_new_changed_gone_deprecated_and_retired_is_listed_apart() {
        let dearer = PRICE.replace(r#""2""#, r#""2.5""#);
        let older = [
            model("changed", PRICE),
            model("deprecated", PRICE),
            model("gone", PRICE),
            model("retired", PRICE),
            model("unpriced", ""),
        ];
        let newer = [
            model("changed", &dearer),
            model("new", ""),
            model("deprecated", &format!(r#"{PRICE},"deprecated_on":"2026-12-01","successor":"new""#)),
            model("retired", &format!(r#"{PRICE},"deprecated_on":"2026-11-30""#)),
            model("unpriced", PRICE),
        ];
        let today = "2026-11-30".parse().unwrap();
        let [older, newer] = [("2026-11-20", older.join(",")), ("2026-11-21", newer.join(","))]
            .map(|(day, models)| catalogue(day, &models));
        let shown = difference(&older, &newer, today);
        assert_eq!((&shown["from_version"], &shown["to_version"]), (&json!("2026-11-20"), &json!("2026-11-21")));
        let one = |item: Value| json!({ "count": 1, "more": 0, "items": [item] });
        let wanted = json!({
            "new": one(json!({ "provider": "a", "model": "unpriced", "more_amounts": 0, "amounts": [
                { "field": "input_usd_per_mtok", "old": null, "new": "1.000000000" },
                { "field": "output_usd_per_mtok", "old": null, "new": "2.000000000" },
            ]})),
            "changed": one(json!({ "provider": "a", "model": "changed", "more_amounts": 0, "amounts": [
                { "field": "output_usd_per_mtok", "old": "2.000000000", "new": "2.500000000" },
            ]})),
            "gone": one(json!({ "provider": "a", "model": "gone" })),
        });
        assert_eq!(shown["prices"], wanted);
        let wanted = json!({
            "new": one(json!({ "provider": "a", "model": "new" })),
            "gone": one(json!({ "provider": "a", "model": "gone" })),
            "deprecated": one(json!({
                "provider": "a", "model": "deprecated", "deprecated_on": "2026-12-01", "successor": "new",
            })),
            "retired": one(json!({ "provider": "a", "model": "retired", "deprecated_on": "2026-11-30" })),
        });
        assert_eq!(shown["models"], wanted);
    }

    #[test]
    fn a_long_list_is_cut_and_says_how_much_was_left_out() {
        let models: Vec<String> = (0..ITEMS_MAX + 7).map(|number| model(&format!("m{number}"), PRICE)).collect();
        let (older, newer) = (catalogue("2026-11-20", ""), catalogue("2026-11-20", &models.join(",")));
        let shown = difference(&older, &newer, older.version());
        let new = &shown["prices"]["new"];
        assert_eq!((&new["count"], &new["more"]), (&json!(ITEMS_MAX + 7), &json!(7)));
        assert_eq!(new["items"].as_array().unwrap().len(), ITEMS_MAX);
    }
}
