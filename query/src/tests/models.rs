//! The models that a key may use.

use std::collections::{BTreeMap, BTreeSet};

use ::events::event::admin::{Model, OutputCapField, Price, Provider, ProviderKind, Strategy, Target};
use ::events::event::{Chain, Change, Event, Resource, Stream, StreamKind};
use ::events::ids::{ModelId, PriceId, ProviderId};
use ::events::money::{NanoUsd, NanoUsdPerMtok, Rates};
use ::events::time::from_micros;
use uuid::Uuid;

use super::world::{World, operator};

fn provider(number: u128) -> ProviderId {
    Uuid::from_u128(number).into()
}

fn named(number: u128, name: &str) -> Provider {
    Provider {
        provider_id: provider(number),
        name: name.to_owned(),
        kind: ProviderKind::Simulator,
        base_url: None,
        tenant_id: None,
        allow_private_network: false,
        timeout_ms: 1,
        idle_timeout_ms: 1,
        headers: BTreeMap::new(),
        output_cap_field: OutputCapField::MaxTokens,
        output_cap_field_given: false,
        allowed_fields: BTreeSet::new(),
        secret_generation: 0,
    }
}

fn target(number: u128, priority: u32) -> Target {
    Target {
        provider_id: provider(number),
        model: "echo".to_owned(),
        priority,
        weight: 1,
        context_window: None,
        max_output_tokens: None,
        default_max_output_tokens: None,
        tokenizer: None,
    }
}

fn price(number: u128) -> Price {
    let rate = NanoUsdPerMtok::new(NanoUsd::new(1)).expect("not negative");
    let rates = Rates {
        input_usd_per_mtok: rate,
        output_usd_per_mtok: rate,
        cache_read_usd_per_mtok: rate,
        cache_write_usd_per_mtok: rate,
        reasoning_usd_per_mtok: rate,
        request_usd: NanoUsd::ZERO,
    };
    let price_id: PriceId = Uuid::from_u128(100 + number).into();
    let (provider_id, effective_from) = (provider(number), from_micros(0));
    Price { price_id, provider_id, model: "echo".into(), rates, defaulted: None, effective_from }
}

async fn append(world: &World, stream: Stream, event: Event) {
    world.append(stream, Chain::default(), event, vec![]).await;
}

/// Each model with the provider that is tried first.
async fn listed(world: &World) -> Vec<String> {
    let path = format!("/v1/models?colour=red&min_position={}", world.log.head().position);
    let list = world.get(&operator(), &path).await.expect("a list");
    let models = list["data"].as_array().expect("models");
    models.iter().map(|model| format!("{} by {}", model["id"], model["provider"])).collect()
}

/// Holds: inf.models
#[tokio::test]
async fn a_model_shows_the_target_that_is_tried_first_and_none_that_nobody_can_serve() {
    let world = World::new().await;
    let stream_of = |number| Stream::new(StreamKind::Provider, provider(number));
    for (number, name) in [(1, "first"), (2, "second")] {
        append(&world, stream_of(number), Event::from(Change::created(named(number, name)))).await;
    }
    let model_id: ModelId = Uuid::from_u128(3).into();
    let (strategy, targets) = (Strategy::Priority, vec![target(2, 2), target(1, 1)]);
    let model = Model { model_id, name: "m".into(), strategy, targets, system_prefix: None, tenant_id: None };
    append(&world, Stream::new(StreamKind::Model, model_id), Event::from(Change::created(model))).await;
    assert!(listed(&world).await.is_empty(), "it has no price");
    for number in [1, 2] {
        let price = price(number);
        let stream = Stream::new(StreamKind::Price, price.price_id);
        append(&world, stream, Event::from(Change::created(price))).await;
    }
    assert_eq!(listed(&world).await, [r#""m" by "first""#]);
    let ended = |number| Event::Resource(Resource::Provider(Change::Ended(provider(number))));
    append(&world, stream_of(1), ended(1)).await;
    assert_eq!(listed(&world).await, [r#""m" by "second""#]);
    append(&world, stream_of(2), ended(2)).await;
    assert!(listed(&world).await.is_empty(), "nobody serves it any more");
    world.close().await;
}
