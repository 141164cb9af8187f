use std::collections::HashSet;

use events::usage::ServiceTier;

use super::*;

fn today() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 20).expect("a day")
}

fn found(variables: &[(&str, &str)]) -> FoundProvider {
    let known = known_providers(Catalogue::shipped());
    let variable =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let mut detected = super::super::detection::detect(&known, Default::default(), variable).expect("no fault");
    detected.providers.remove(0)
}

#[test]
fn a_model_has_its_own_name_and_the_one_that_all_its_providers_share() {
    let (offers, notes) = offers(Catalogue::shipped(), &found(&[("OPENAI_API_KEY", "k")]), today());
    let mini = offers.iter().find(|offer| offer.name == "gpt-4o-mini").expect("the model");
    assert_eq!((mini.backend.as_str(), mini.bare_names.as_slice()), ("gpt-4o-mini", &["gpt-4o-mini".to_owned()][..]));
    assert_eq!((mini.window.tokens, mini.max_output_tokens), (Some(128_000), Some(16_384)));
    assert_eq!((mini.default_max_output_tokens, mini.origin), (Some(4_096), Origin::Catalogue));
    assert!(notes.is_empty());
    let embedding = offers.iter().find(|offer| offer.name == "text-embedding-3-small").expect("the model");
    assert_eq!(embedding.default_max_output_tokens, None);
    let names: HashSet<&str> = offers.iter().map(|offer| offer.backend.as_str()).collect();
    assert_eq!(names.len(), offers.len());
}

#[test]
fn a_retired_model_and_one_without_a_price_are_not_offered() {
    let catalogue = Catalogue::parse(
        r#"{"schema":1,"version":"2026-11-20","sources":[],"aliases":{"a":"x"},
            "providers":[{"id":"openai","name":"O","kind":"openai","base_url":"https://api.openai.com/v1",
                          "documentation":"https://a.example","key_variables":["OPENAI_API_KEY"]}],
            "models":[
              {"provider":"openai","model":"old","mode":"chat","deprecated_on":"2026-11-20","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
              {"provider":"openai","model":"dear","mode":"chat"},
              {"provider":"openai","model":"other","mode":"responses","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}},
              {"provider":"openai","model":"x-1","name":"x","mode":"chat","price":{"input_usd_per_mtok":"1","output_usd_per_mtok":"1"}}]}"#,
    )
    .expect("a catalogue");
    let found = found(&[("OPENAI_API_KEY", "k")]);
    let (offers, _) = offers(&catalogue, &found, today());
    let names: Vec<_> = offers.iter().map(|offer| (offer.backend.as_str(), offer.bare_names.clone())).collect();
    assert_eq!(names, [("x-1", vec!["x".to_owned(), "a".to_owned()])]);
}

/// Holds: environment.prices
#[test]
fn a_model_is_offered_at_its_list_price_with_tiers_and_classes() {
    let found = found(&[("GEMINI_API_KEY", "k")]);
    let (offers, _) = offers(Catalogue::shipped(), &found, today());
    let pro = offers.iter().find(|offer| offer.backend == "gemini-2.5-pro").expect("the model");
    let listed = Catalogue::shipped().model("gemini", "gemini-2.5-pro").and_then(|model| model.price.as_ref());
    assert_eq!(Some(&pro.rates), listed.map(|price| price.given().expect("tiers")).as_ref());
    assert!(pro.rates.tiers.has(ServiceTier::Flex));
}

#[test]
fn a_deployment_is_called_by_its_name_and_asked_for_by_its_model() {
    let endpoint = ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com");
    let list = (DEPLOYMENTS_VARIABLE, "gpt-4o-mini=prod,no-such-model");
    let found = found(&[("AZURE_OPENAI_API_KEY", "k"), endpoint, list]);
    let (offers, notes) = offers(Catalogue::shipped(), &found, today());
    assert_eq!(offers.len(), 1);
    assert_eq!((offers[0].backend.as_str(), offers[0].name.as_str()), ("prod", "gpt-4o-mini"));
    assert!(notes.len() == 1 && notes[0].contains("no-such-model"), "{notes:?}");
    let state = found.state(format!("prv_{:032x}", 1).parse().expect("an id"), "azure".to_owned());
    let found = [found];
    let model = described(Catalogue::shipped(), &found, &state, "prod").expect("the model");
    assert_eq!(model.model, "gpt-4o-mini");
    assert!(described(Catalogue::shipped(), &found, &state, "other").is_none());
}

/// Holds: environment.zones
#[test]
fn a_deployment_in_a_data_zone_costs_what_it_costs_there() {
    let endpoint = ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com");
    let list = (DEPLOYMENTS_VARIABLE, "gpt-4.1=prod@eu,o4-mini,gpt-35-turbo-16k@apac");
    let found = found(&[("AZURE_OPENAI_API_KEY", "k"), endpoint, list]);
    let (offers, notes) = offers(Catalogue::shipped(), &found, today());
    let price = |backend: &str| &offers.iter().find(|offer| offer.backend == backend).expect("an offer").rates;
    let listed = |model: &str| Catalogue::shipped().model("azure_openai", model).expect("a model");
    let regional = listed("gpt-4.1").regional_prices["eu"].given().expect("tiers");
    assert!(
        *price("prod") == regional
            && regional.input > listed("gpt-4.1").price.as_ref().expect("a price").input_usd_per_mtok
    );
    assert_eq!(*price("o4-mini"), listed("o4-mini").price.as_ref().expect("a price").given().expect("tiers"));
    // The price of another zone would be a guess.
    assert!(offers.len() == 2 && notes.len() == 1 && notes[0].contains("gpt-35-turbo-16k@apac"), "{notes:?}");
}

#[test]
fn a_model_whose_api_the_gateway_does_not_call_there_is_not_offered() {
    let found = found(&[("AWS_BEARER_TOKEN_BEDROCK", "k"), ("AWS_REGION", "us-east-1")]);
    let (offers, _) = offers(Catalogue::shipped(), &found, today());
    assert!(offers.len() > 50 && offers.iter().all(|offer| offer.default_max_output_tokens.is_some()));
}

/// Holds: environment.searches
#[test]
fn a_model_that_always_searches_is_offered_with_the_price_of_its_searches_or_not_at_all() {
    for (variable, provider, wanted, never) in [
        (
            "OPENAI_API_KEY",
            "openai",
            vec![("gpt-4o-search-preview", "request 0.025"), ("gpt-5-search-api", "request 0.01")],
            None,
        ),
        (
            "PERPLEXITY_API_KEY",
            "perplexity",
            vec![("sonar", "request 0.005"), ("sonar-deep-research", "search 0.005")],
            None,
        ),
        ("GEMINI_API_KEY", "gemini", vec![], Some("deep-research-preview-04-2026")),
    ] {
        let (offers, _) = offers(Catalogue::shipped(), &found(&[(variable, "k")]), today());
        for offer in &offers {
            let model = Catalogue::shipped().model(provider, &offer.backend).expect("the model");
            let has_fee = offer.rates.request.is_some() || offer.rates.search.is_some();
            assert!(has_fee || !model.always_searches, "{}", offer.backend);
        }
        for (model, fee) in wanted {
            let rates = &offers.iter().find(|offer| offer.backend == model).expect("the model").rates;
            let (unit, amount) = fee.split_once(' ').expect("a unit");
            let of_unit = if unit == "request" { rates.request } else { rates.search };
            assert_eq!(of_unit, Some(amount.parse().expect("an amount")), "{model}");
        }
        if let Some(never) = never {
            assert!(Catalogue::shipped().model(provider, never).is_some_and(|model| model.always_searches));
            assert!(offers.iter().all(|offer| offer.backend != never));
        }
    }
}

/// Holds: environment.geographies
#[test]
fn a_bare_name_stays_in_the_geography_of_the_region() {
    for (region, geography) in [("eu-west-1", "eu"), ("us-east-1", "us"), ("ap-southeast-2", "au")] {
        let found = found(&[("AWS_BEARER_TOKEN_BEDROCK", "k"), ("AWS_REGION", region)]);
        let (offers, _) = offers(Catalogue::shipped(), &found, today());
        let everywhere: Vec<_> = offers.iter().filter(|offer| offer.backend.starts_with("global.")).collect();
        assert!(!everywhere.is_empty() && everywhere.iter().all(|offer| offer.bare_names.is_empty()), "{region}");
        let named = offers.iter().filter(|offer| !offer.bare_names.is_empty());
        let geographies: HashSet<_> = named
            .filter_map(|offer| Catalogue::shipped().model("bedrock", &offer.backend)?.geography.as_deref())
            .collect();
        assert!(geographies.contains(geography) && !geographies.contains("global"), "{region}: {geographies:?}");
    }
}

#[test]
fn a_profile_of_a_geography_is_served_in_its_regions() {
    let served = |geography: &str, region: Option<&str>| {
        let model = Model { geography: Some(geography.to_owned()), ..Catalogue::shipped().models()[0].clone() };
        is_served_in(&model, region)
    };
    for (geography, region, is_served) in [
        ("us", Some("us-east-1"), true),
        ("us", Some("us-gov-west-1"), false),
        ("us-gov", Some("us-gov-west-1"), true),
        ("eu", Some("eu-west-1"), true),
        ("eu", Some("us-east-1"), false),
        ("apac", Some("ap-south-1"), true),
        ("global", Some("eu-west-1"), true),
        ("global", Some("us-gov-west-1"), false),
        ("us", None, false),
        ("global", None, true),
        ("mars", Some("us-east-1"), false),
    ] {
        assert_eq!(served(geography, region), is_served, "{geography} {region:?}");
    }
}
