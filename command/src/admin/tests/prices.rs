//! A price after any sequence of changes: the last values, and the defaults of absent rates.

use std::collections::BTreeMap;

use events::event::admin::Price;
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::money::{GivenRates, NanoUsd, NanoUsdPerMtok, TokenRate};
use events_log::{Append, Basis};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::lab::Lab;

/// The optional rates, each with the field that it follows. A request follows none, and costs nothing.
const OPTIONAL: [(&str, Option<&str>); 4] = [
    ("cache_read_usd_per_mtok", Some("input_usd_per_mtok")),
    ("cache_write_usd_per_mtok", Some("input_usd_per_mtok")),
    ("reasoning_usd_per_mtok", Some("output_usd_per_mtok")),
    ("request_usd", None),
];
const REQUIRED: [&str; 2] = ["input_usd_per_mtok", "output_usd_per_mtok"];

type Body = BTreeMap<&'static str, Option<u8>>;

/// The model of a price: the last value of each field that is present.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<&'static str, u8>);

impl Model {
    fn take(&mut self, body: &Body) {
        for (field, value) in body {
            match value {
                Some(value) => drop(self.0.insert(field, *value)),
                None => drop(self.0.remove(field)),
            }
        }
    }

    /// The rates that a reply must have.
    fn rates(&self) -> BTreeMap<String, Value> {
        let own = |field: &str| self.0.get(field).copied();
        let usd = |value: Option<u8>| json!(format!("{}.000000000", value.unwrap_or(0)));
        let required = REQUIRED.iter().map(|field| ((*field).to_owned(), usd(own(field))));
        let optional = OPTIONAL
            .iter()
            .map(|(field, follows)| ((*field).to_owned(), usd(own(field).or_else(|| follows.and_then(own)))));
        let absent: Vec<_> =
            OPTIONAL.iter().map(|(field, _)| *field).filter(|field| !self.0.contains_key(field)).collect();
        required.chain(optional).chain([("defaulted".to_owned(), json!(absent))]).collect()
    }
}

fn written(body: &Body) -> Value {
    body.iter().map(|(field, value)| ((*field).to_owned(), json!(value.map(|value| value.to_string())))).collect()
}

/// The fields of a reply that [`Model::rates`] has.
fn rates_of(price: &Value) -> BTreeMap<String, Value> {
    let fields = REQUIRED.iter().copied().chain(OPTIONAL.iter().map(|(field, _)| *field)).chain(["defaulted"]);
    fields.map(|field| (field.to_owned(), price[field].clone())).collect()
}

/// Few values, so that a given value often equals the default.
fn creation() -> impl Strategy<Value = Body> {
    let optional =
        OPTIONAL.map(|(field, _)| prop_oneof![Just(None), (0u8..4).prop_map(move |value| Some((field, value)))]);
    (0u8..4, 0u8..4, optional).prop_map(|(input, output, optional)| {
        let required = [(REQUIRED[0], Some(input)), (REQUIRED[1], Some(output))];
        let optional = optional.into_iter().flatten().map(|(field, value)| (field, Some(value)));
        required.into_iter().chain(optional).collect()
    })
}

/// Each field is omitted, set, or (if it is optional) removed.
fn change() -> impl Strategy<Value = Body> {
    let required =
        REQUIRED.map(|field| (Just(field), prop_oneof![3 => Just(None), 1 => (0u8..4).prop_map(|v| Some(Some(v)))]));
    let optional = OPTIONAL.map(|(field, _)| {
        (Just(field), prop_oneof![3 => Just(None), 1 => Just(Some(None)), 1 => (0u8..4).prop_map(|v| Some(Some(v)))])
    });
    (required, optional).prop_map(|(required, optional)| {
        let fields = required.into_iter().chain(optional);
        fields.filter_map(|(field, value): (_, Option<Option<u8>>)| Some((field, value?))).collect()
    })
}

/// Holds: admin.price-defaults
#[test]
fn after_any_changes_a_price_has_the_last_values_and_absent_rates_follow() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (lab, provider) = runtime.block_on(async {
        let lab = Lab::new().await;
        let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
        (lab, provider)
    });
    let mut runner = TestRunner::new(Config { cases: 48, ..Config::default() });
    let story = (creation(), proptest::collection::vec(change(), 0..6));
    runner
        .run(&story, |(creation, changes)| {
            let mut body = written(&creation);
            body["provider_id"] = json!(provider);
            body["model"] = json!("echo");
            let mut model = Model::default();
            model.take(&creation);
            let price = runtime.block_on(lab.made("/prices", body));
            prop_assert_eq!(rates_of(&price), model.rates());
            let one = format!("/v1/admin/prices/{}", price["id"].as_str().unwrap());
            for change in changes {
                model.take(&change);
                let sent = written(&change);
                let price = runtime.block_on(lab.send(&lab.operator(), "PATCH", &one, &sent)).must(200);
                prop_assert_eq!(rates_of(&price), model.rates(), "after {}", sent);
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn input_and_output_cannot_be_absent() {
    let lab = Lab::new().await;
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let body = json!({"provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15"});
    let one = format!("/v1/admin/prices/{}", lab.make("/prices", body.clone()).await);
    for field in REQUIRED {
        let mut without = body.clone();
        without[field] = Value::Null;
        assert_eq!(lab.send(&lab.operator(), "POST", "/v1/admin/prices", &without).await.wrong_field(), field);
        assert_eq!(lab.send(&lab.operator(), "PATCH", &one, &json!({ field: null })).await.wrong_field(), field);
    }
    let mut given = body;
    given["defaulted"] = json!([]);
    assert_eq!(lab.send(&lab.operator(), "POST", "/v1/admin/prices", &given).await.wrong_field(), "defaulted");
}

/// An event of a version that did not record which rates were absent.
#[tokio::test]
async fn a_rate_of_an_earlier_version_counts_as_absent_if_it_equals_its_default() {
    let lab = Lab::new().await;
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let usd = |usd: i64| NanoUsdPerMtok::new(NanoUsd::new(usd * 1_000_000_000)).unwrap();
    let given = GivenRates::new(usd(3), usd(15)).with(TokenRate::CacheRead, usd(1));
    let mut price = Price::new(lab.admin.ids.make(), provider.parse().unwrap(), "echo", given, lab.admin.clock.now());
    price.tariff = price.tariff.as_first_recorded();
    let append = Append {
        stream: Stream::new(StreamKind::Price, price.price_id),
        expected_sequence: 0,
        context: Context::of(Actor::Operator),
        events: vec![Event::from(Change::created(price.clone()))],
        side: vec![],
        idempotency: None,
        basis: Basis::default(),
    };
    lab.admin.log.append(append).await.unwrap();
    let one = format!("/v1/admin/prices/{}", price.price_id);
    let sent = json!({"input_usd_per_mtok": "4", "output_usd_per_mtok": "20"});
    let changed = lab.send(&lab.operator(), "PATCH", &one, &sent).await.must(200);
    assert_eq!(changed["cache_read_usd_per_mtok"], "1.000000000", "was given");
    assert_eq!(changed["cache_write_usd_per_mtok"], "4.000000000");
    assert_eq!(changed["reasoning_usd_per_mtok"], "20.000000000");
    assert_eq!(changed["defaulted"], json!(["cache_write_usd_per_mtok", "reasoning_usd_per_mtok", "request_usd"]));
}

/// Auditors of a tenant see the prices of its own providers, and no other tenant's auditors do.
#[tokio::test]
async fn a_price_is_recorded_for_the_owner_of_its_provider() {
    let lab = Lab::new().await;
    let provider = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": "k"});
    let mut owned = provider.clone();
    (owned["name"], owned["tenant_id"]) = (json!("own"), json!(lab.tenancy.tenant));
    for (provider, tenant) in [(provider, None), (owned, Some(lab.tenancy.tenant))] {
        let id = lab.make("/providers", provider).await;
        let price = json!({"provider_id": id, "model": "m", "input_usd_per_mtok": "1", "output_usd_per_mtok": "2"});
        let price = lab.make("/prices", price).await;
        let one = format!("/v1/admin/prices/{price}");
        lab.send(&lab.operator(), "PATCH", &one, &json!({"input_usd_per_mtok": "3"})).await.must(200);
        lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
        let recorded = lab.events().await;
        let of_price: Vec<_> = recorded.iter().filter(|recorded| recorded.stream.id == price).collect();
        assert_eq!(of_price.len(), 3, "made, changed and ended");
        assert!(of_price.iter().all(|recorded| recorded.context.tenant_id == tenant), "{of_price:?}");
    }
}

/// Holds: admin.price-tiers
#[tokio::test]
async fn tiers_and_rarer_prices_are_taken_shown_changed_and_removed() {
    let lab = Lab::new().await;
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let body = json!({
        "provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15",
        "cache_write_1h_usd_per_mtok": "6", "input_audio_usd_per_mtok": "40", "search_usd": "0.01",
        "tiers": [
            {"above_input_tokens": 200_000, "input_usd_per_mtok": "6"},
            {"service_tier": "flex", "output_usd_per_mtok": "7.5", "cache_read_usd_per_mtok": null},
        ],
    });
    let made = lab.send(&lab.operator(), "POST", "/v1/admin/prices", &body).await.must(201);
    assert_eq!(made["cache_write_1h_usd_per_mtok"], "6.000000000");
    assert_eq!(made["search_usd"], "0.010000000");
    assert_eq!(made["cache_write_30m_usd_per_mtok"], Value::Null, "what follows another price is not shown as given");
    let tiers = json!([
        {"above_input_tokens": 200_000, "input_usd_per_mtok": "6.000000000"},
        {"service_tier": "flex", "output_usd_per_mtok": "7.500000000"},
    ]);
    assert_eq!(made["tiers"], tiers);
    assert_eq!(made["cache_read_usd_per_mtok"], "3.000000000");
    let one = format!("/v1/admin/prices/{}", made["id"].as_str().unwrap());
    let changed = json!({"search_usd": null, "input_usd_per_mtok": "4"});
    let changed = lab.send(&lab.operator(), "PATCH", &one, &changed).await.must(200);
    assert_eq!((&changed["search_usd"], &changed["tiers"]), (&Value::Null, &tiers), "the others are kept");
    assert_eq!(changed["input_audio_usd_per_mtok"], "40.000000000");
    let changed = lab.send(&lab.operator(), "PATCH", &one, &json!({"tiers": null})).await.must(200);
    assert_eq!(changed["tiers"], json!([]));
    assert_eq!(changed["cache_read_usd_per_mtok"], "4.000000000");
}

#[tokio::test]
async fn what_is_wrong_in_a_tier_is_refused_by_its_field() {
    let lab = Lab::new().await;
    let provider = lab.make("/providers", json!({"name": "sim", "kind": "simulator"})).await;
    let long = json!({"above_input_tokens": 200_000});
    for (tiers, field) in [
        (json!([{"input_usd_per_mtok": "1"}]), "tiers[0]"),
        (json!([long, {"service_tier": "flex"}, long]), "tiers[2]"),
        (json!([{"above_input_tokens": 0}]), "tiers[0].above_input_tokens"),
        (json!([long, {"service_tier": "fast"}]), "tiers[1].service_tier"),
        (json!([{"service_tier": "flex", "input_usd_per_mtok": "-1"}]), "tiers[0].input_usd_per_mtok"),
        (json!([{"service_tier": "flex", "input_usd_per_mtok": 1}]), "tiers[0].input_usd_per_mtok"),
        (json!([{"service_tier": "flex", "request_usd": "1"}]), "tiers[0].request_usd"),
        (json!({}), "tiers"),
        ((1..=33).map(|above| json!({"above_input_tokens": above})).collect(), "tiers"),
    ] {
        let body = json!({
            "provider_id": provider, "model": "m", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15", "tiers": tiers,
        });
        let refused = lab.send(&lab.operator(), "POST", "/v1/admin/prices", &body).await;
        assert_eq!(refused.wrong_field(), field, "{tiers}");
    }
}
