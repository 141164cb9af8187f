use events::abilities::{Abilities, Ability};
use events::refused_parameters::RefusedParameter;
use events::usage::ServiceTier;
use serde_json::{Value, json};

use super::*;
use crate::{Difference, Price};

/// A small catalogue: two providers, the same model at both, another one, and an alias.
pub fn document() -> Value {
    json!({
        "schema": 1,
        "version": "2026-11-20",
        "sources": [{ "origin": "a list", "licence": "MIT", "taken_on": "2026-11-20", "providers": ["one"] }],
        "providers": [
            { "id": "one", "name": "First", "kind": "openai", "base_url": "https://one.example/v1",
              "documentation": "https://one.example/docs", "key_variables": ["ONE_API_KEY"] },
            { "id": "two", "name": "Second", "kind": "bedrock", "base_url_template": "https://x.{region}.example",
              "documentation": "https://two.example", "key_variables": [], "region_variables": ["TWO_REGION"] },
        ],
        "models": [
            { "provider": "two", "model": "us.maker.large-v1:0", "name": "large", "mode": "chat", "geography": "us" },
            { "provider": "one", "model": "large", "name": "large", "mode": "chat", "successor": "small",
              "deprecated_on": "2026-11-20",
              "price": { "input_usd_per_mtok": "2.5", "output_usd_per_mtok": "10",
                         "tiers": [{ "above_input_tokens": 200_000, "input_usd_per_mtok": "5" },
                                   { "service_tier": "batch", "input_usd_per_mtok": "1.25" }] } },
            { "provider": "one", "model": "small", "name": "small", "mode": "chat" },
        ],
        "aliases": { "big": "large" },
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Result<Catalogue, InvalidCatalogue> {
    let mut document = document();
    change(&mut document);
    Catalogue::parse(&document.to_string())
}

fn catalogue() -> Catalogue {
    changed(|_| {}).expect("a catalogue")
}

fn models_of(found: &[&Model]) -> Vec<(String, String)> {
    found.iter().map(|model| (model.provider.clone(), model.model.clone())).collect()
}

fn pair(provider: &str, model: &str) -> (String, String) {
    (provider.to_owned(), model.to_owned())
}

#[test]
fn a_model_is_found_by_its_provider_its_name_and_an_alias() {
    let catalogue = catalogue();
    let both = vec![pair("one", "large"), pair("two", "us.maker.large-v1:0")];
    for (asked, wanted) in [
        ("one/large", vec![pair("one", "large")]),
        ("large", both.clone()),
        ("big", both),
        ("us.maker.large-v1:0", vec![pair("two", "us.maker.large-v1:0")]),
        ("two/large", vec![]),
        ("Large", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(models_of(&catalogue.meant(asked)), wanted, "{asked}");
    }
    assert_eq!(catalogue.models_of("one").len(), 2);
    assert!(catalogue.models_of("on").is_empty() && catalogue.models_of("zero").is_empty());
    assert_eq!(catalogue.provider("two").map(|provider| provider.name.as_str()), Some("Second"));
}

#[test]
fn a_search_needs_every_word_in_whatever_case() {
    let catalogue = catalogue();
    for (words, found) in [
        (&["LARGE"][..], 2),
        (&["first", "large"], 1),
        (&["big us."], 1),
        (&["one"], 2),
        (&["one", "nothing"], 0),
        (&[], 0),
        (&[" "], 0),
    ] {
        assert_eq!(catalogue.search(words).len(), found, "{words:?}");
    }
}

#[test]
fn a_model_is_deprecated_before_its_day_and_retired_from_then_on() {
    let catalogue = catalogue();
    let model = |name: &str| catalogue.model("one", name).expect("a model");
    for (name, day, wanted) in [
        ("large", "2026-11-19", (true, false)),
        ("large", "2026-11-20", (false, true)),
        ("small", "2026-11-20", (false, false)),
    ] {
        let (model, day) = (model(name), day.parse().expect("a day"));
        assert_eq!((model.is_deprecated(day), model.is_retired(day)), wanted, "{name} on {day}");
    }
}

#[test]
fn a_region_has_its_own_price_or_that_of_all_others() {
    let eu = json!({ "eu": { "input_usd_per_mtok": "3", "output_usd_per_mtok": "11" } });
    let catalogue = changed(|document| document["models"][1]["regional_prices"] = eu).expect("a catalogue");
    let model = catalogue.model("one", "large").expect("a model");
    let tiers = |price: Option<&Price>| price.map(|price| price.tiers.len());
    assert_eq!((tiers(model.price_in("eu")), tiers(model.price_in("us"))), (Some(0), Some(2)));
    let price = model.price.as_ref().expect("a price");
    assert_eq!(price.tiers[1].conditions(), (None, Some(ServiceTier::Batch)));
}

/// Each case: words of the error, the place first, and the change that causes it.
#[test]
fn what_is_wrong_is_refused_with_its_place() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 37] = [
        ("schema is 2", |d| d["schema"] = json!(2)),
        ("unknown field `extra`", |d| d["models"][0]["extra"] = json!(1)),
        ("unknown field `per_image_in`", |d| d["models"][1]["price"]["per_image_in"] = json!("1")),
        ("unknown field `x`", |d| d["providers"][0]["x"] = json!(1)),
        ("unknown variant `video`", |d| d["models"][0]["mode"] = json!("video")),
        ("unknown variant `flies`", |d| d["models"][0]["capabilities"] = json!(["flies"])),
        ("missing field `models`", |d| drop(d.as_object_mut().expect("an object").remove("models"))),
        ("provider \"one\" is there twice", |d| d["providers"][1] = d["providers"][0].clone()),
        ("provider \"O\" its id", |d| d["providers"][0]["id"] = json!("O")),
        ("its base_url must", |d| d["providers"][0]["base_url"] = json!("http://one.example")),
        ("its documentation must", |d| d["providers"][0]["documentation"] = json!("https://a b")),
        ("{region} once", |d| d["providers"][1]["base_url_template"] = json!("https://x.example")),
        ("\"one-key\" is not the name of a variable", |d| d["providers"][0]["key_variables"] = json!(["one-key"])),
        ("names LEDGERWAY_ADMIN_KEY, which is a setting", |d| {
            d["providers"][0]["key_variables"] = json!(["LEDGERWAY_ADMIN_KEY"])
        }),
        ("names LEDGERWAY_X, which is a setting", |d| {
            d["providers"][0]["header_variables"] = json!({ "a": "LEDGERWAY_X" })
        }),
        ("must be an address of this machine", |d| d["providers"][0]["local"] = json!(true)),
        ("must be an address of this machine", |d| {
            d["providers"][0]["local"] = json!(true);
            d["providers"][0]["base_url"] = json!("http://127.0.0.1:80@a.example/v1");
        }),
        ("names the variable A twice", |d| d["providers"][0]["key_variables"] = json!(["A", "A"])),
        ("\"a b\" is not the name of a header", |d| d["providers"][0]["header_variables"] = json!({ "a b": "A" })),
        ("source 0 names an unknown provider", |d| d["sources"][0]["providers"] = json!(["three"])),
        ("model \"large\" of \"one\" is there twice", |d| d["models"][2] = d["models"][1].clone()),
        ("model \"small\" of \"three\" is of an unknown provider", |d| d["models"][2]["provider"] = json!("three")),
        ("model \"a b\" of \"one\" its model must", |d| d["models"][2]["model"] = json!("a b")),
        ("its name must", |d| d["models"][2]["name"] = json!("")),
        ("its name must", |d| d["models"][2]["name"] = json!("gpt\u{200b}-4o")),
        ("its context_window must", |d| d["models"][2]["context_window"] = json!(0)),
        ("has the capability tools twice", |d| d["models"][2]["capabilities"] = json!(["tools", "tools"])),
        ("its successor, \"nobody\", is no other", |d| d["models"][1]["successor"] = json!("nobody")),
        ("never a JSON number", |d| d["models"][1]["price"]["input_usd_per_mtok"] = json!(2.5)),
        ("more than nine fractional digits", |d| d["models"][1]["price"]["input_usd_per_mtok"] = json!("0.0000000001")),
        ("must not be negative", |d| d["models"][1]["price"]["input_usd_per_mtok"] = json!("-1")),
        ("must not be negative", |d| d["models"][1]["price"]["request_usd"] = json!("-1")),
        ("has a tier without a condition, tier 0", |d| {
            drop(d["models"][1]["price"]["tiers"][0].as_object_mut().expect("a tier").remove("above_input_tokens"))
        }),
        ("its price has two tiers with the conditions of tier 1", |d| {
            d["models"][1]["price"]["tiers"][1] = d["models"][1]["price"]["tiers"][0].clone()
        }),
        ("has a tier without prices, tier 1", |d| {
            d["models"][1]["price"]["tiers"][1] = json!({ "service_tier": "flex" })
        }),
        ("alias \"big\" is for \"nothing\", which no model is named", |d| d["aliases"]["big"] = json!("nothing")),
        ("alias \"small\" is the name of a model", |d| d["aliases"]["small"] = json!("large")),
    ];
    for (words, change) in cases {
        let refused = changed(change).expect_err(words).to_string();
        assert!(refused.contains(words), "{words}: {refused}");
        assert!(refused.starts_with("is not a catalogue: "), "{refused}");
    }
}

#[test]
fn an_alias_needs_a_model_that_is_still_served() {
    let refused = changed(|document| document["models"][0]["deprecated_on"] = json!("2026-01-01"));
    let refused = refused.expect_err("both models are gone").to_string();
    assert!(refused.contains("alias \"big\" is for \"large\", which no provider serves any more"), "{refused}");
}

#[test]
fn a_member_that_is_there_twice_is_refused() {
    for (once, twice) in [
        (r#""big":"large""#, r#""big":"large","big":"small""#),
        (r#""origin":"a list""#, r#""origin":"a list","origin":"another""#),
    ] {
        let text = document().to_string().replace(once, twice);
        let refused = Catalogue::parse(&text).expect_err(twice).to_string();
        assert!(refused.contains("duplicate field") && refused.contains("line 1 column"), "{refused}");
    }
}

#[test]
fn what_is_too_large_is_not_parsed() {
    let text = " ".repeat(TEXT_LEN_MAX + 1);
    assert_eq!(Catalogue::parse(&text).expect_err("too large"), InvalidCatalogue::TooLarge);
    assert!(Catalogue::parse(&text[1..]).is_err_and(|error| error != InvalidCatalogue::TooLarge));
}

/// Holds: bin.catalogue-providers
#[test]
fn the_providers_are_those_of_the_release_and_models_of_others_are_left_out() {
    let release = changed(|document| {
        document["providers"].as_array_mut().expect("a list").remove(1);
        document["models"].as_array_mut().expect("a list").remove(0);
        document["aliases"] = json!({});
    });
    let release = release.expect("a catalogue");
    let taken = changed(|document| {
        document["providers"][0]["base_url"] = json!("https://elsewhere.example/v1");
        document["providers"][0]["key_variables"] = json!(["AWS_SECRET_ACCESS_KEY"]);
        document["models"][0]["name"] = json!("only-there");
        document["models"][0]["geography"] = json!("us");
        document["aliases"] = json!({ "big": "only-there", "little": "small" });
        document["models"][1]["price"]["input_usd_per_mtok"] = json!("3");
    });
    let taken = taken.expect("a catalogue");
    assert_eq!(release.differing_providers(&taken), ["one", "two"]);
    let used = taken.with_providers_of(&release);
    assert_eq!(used.providers(), release.providers());
    assert!(used.differing_providers(&release).is_empty());
    assert_eq!(models_of(&used.models().iter().collect::<Vec<_>>()), [pair("one", "large"), pair("one", "small")]);
    assert_eq!(used.aliases().collect::<Vec<_>>(), [("little", "small")]);
    let price = used.model("one", "large").and_then(|model| model.price.as_ref()).expect("a price");
    assert_eq!(price.input_usd_per_mtok.of_a_million().nanos(), 3_000_000_000);
}

#[test]
fn a_local_server_may_be_at_any_port_of_this_machine() {
    for base_url in ["http://127.0.0.1:11434", "http://localhost", "http://[::1]:1/v1", "https://localhost:8/v1?a"] {
        let local = changed(|document| {
            document["providers"][0]["local"] = json!(true);
            document["providers"][0]["base_url"] = json!(base_url);
        });
        assert!(local.is_ok(), "{base_url}");
    }
}

#[test]
fn a_difference_tells_prices_from_everything_else() {
    let newer = changed(|document| {
        document["models"][1]["price"]["tiers"][1]["input_usd_per_mtok"] = json!("1");
        document["models"][0]["context_window"] = json!(1000);
        document["models"][2]["model"] = json!("smaller");
        document["models"][1]["successor"] = json!("smaller");
    });
    let (older, newer) = (catalogue(), newer.expect("a catalogue"));
    let difference = Difference::between(&older, &newer);
    let name = |models: &[&Model]| models.iter().map(|model| model.model.clone()).collect::<Vec<_>>();
    assert_eq!((name(&difference.new), name(&difference.gone)), (vec!["smaller".to_owned()], vec!["small".to_owned()]));
    assert_eq!(difference.repriced.iter().map(|(_, after)| after.model.as_str()).collect::<Vec<_>>(), ["large"]);
    assert_eq!(difference.changed.len(), 1);
    assert!(Difference::between(&older, &older).is_empty());
}

/// So that editors know every word that is read.
#[test]
fn the_schema_has_every_ability_and_every_refused_parameter() {
    let schema: Value = serde_json::from_str(include_str!("../../data/catalogue.schema.json")).expect("a schema");
    let facts = &schema["$defs"]["model"]["properties"]["facts"]["properties"];
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list["items"]["enum"].clone()).expect("words") };
    assert_eq!(words(&facts["refused_parameters"]), RefusedParameter::words().collect::<Vec<_>>());
    let abilities = &facts["abilities"]["properties"];
    for list in Abilities::LISTS {
        assert_eq!(words(&abilities[list.name]), list.of.iter().map(|ability| ability.as_str()).collect::<Vec<_>>());
    }
    for ability in Abilities::single() {
        assert_eq!(abilities[ability.as_str()]["type"], "boolean", "{ability}");
    }
    let names = abilities.as_object().expect("names").len();
    assert_eq!(names, Abilities::LISTS.len() + Abilities::single().count());
}

#[test]
fn what_is_known_of_a_model_follows_from_its_facts_its_mode_and_its_capabilities() {
    let stated = |change: Value| {
        let read = changed(|document| {
            let model = document["models"][2].as_object_mut().expect("a model");
            model.extend(change.as_object().expect("fields").clone());
        });
        read.map(|catalogue| catalogue.model("one", "small").expect("the model").stated_facts())
    };
    let known = stated(json!({ "capabilities": ["tools", "vision"], "facts": {
        "abilities": { "inputs": ["image", "text"], "tools": false }, "refused_parameters": ["top_p"] } }));
    let known = known.expect("a catalogue");
    let has = |ability| known.abilities.has(ability);
    assert_eq!((has(Ability::Tools), has(Ability::Image), has(Ability::Audio)), (Some(false), Some(true), Some(false)));
    assert_eq!(
        (has(Ability::Chat), has(Ability::Embeddings), has(Ability::Reasoning)),
        (Some(true), Some(false), None)
    );
    assert_eq!(known.refused_parameters.map(|refused| refused.to_string()).as_deref(), Some("top_p"));
    let embeds = stated(json!({ "mode": "embedding" })).expect("a catalogue").abilities;
    assert_eq!((embeds.has(Ability::Chat), embeds.has(Ability::Image)), (Some(false), Some(false)));
    assert_eq!(stated(json!({ "mode": "completion" })).expect("a catalogue").abilities, Abilities::UNKNOWN);
    for (wrong, says) in [
        (json!({ "abilities": { "tols": true } }), "tols is no ability"),
        (json!({ "abilities": { "inputs": ["smell"] } }), "inputs has \"smell\", which is none of these"),
        (json!({ "refused_parameters": ["stop"] }), "unknown variant `stop`"),
        (
            json!({ "refused_parameters": ["max_tokens", "max_completion_tokens"] }),
            "must leave a name for the output cap",
        ),
        (json!({ "refused_parameters": ["reasoning_effort", "reasoning_effort_with_tools"] }), "must have one of"),
        (json!({ "more": 1 }), "unknown field `more`"),
    ] {
        let refused = stated(json!({ "facts": wrong })).expect_err(says).to_string();
        assert!(refused.contains(says), "{refused}");
    }
}
