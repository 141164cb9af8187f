//! The models that a key may use.

use ::events::event::admin::{Model, Price, Provider, ProviderKindName, Strategy, Target};
use ::events::event::{Chain, Change, Event, Resource, Stream, StreamKind};
use ::events::ids::{ModelId, PriceId, ProviderId};
use ::events::money::{GivenRates, NanoUsd, NanoUsdPerMtok};
use ::events::time::from_micros;
use uuid::Uuid;

use super::world::{World, operator};

fn provider(number: u128) -> ProviderId {
    Uuid::from_u128(number).into()
}

pub fn named(number: u128, name: &str) -> Provider {
    Provider {
        timeout_ms: 1,
        idle_timeout_ms: 1,
        ..Provider::new(provider(number), name, ProviderKindName::literal("simulator"))
    }
}

fn target(number: u128, priority: u32) -> Target {
    Target { priority, ..Target::new(provider(number), "echo") }
}

pub fn price(number: u128) -> Price {
    let rate = NanoUsdPerMtok::new(NanoUsd::new(1)).expect("not negative");
    let given = GivenRates::new(rate, rate);
    let price_id: PriceId = Uuid::from_u128(100 + number).into();
    Price::new(price_id, provider(number), "echo", given, from_micros(0))
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
    let model = Model { strategy, ..Model::new(model_id, "m", targets) };
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
