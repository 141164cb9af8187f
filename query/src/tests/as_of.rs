//! Answers as of an earlier position, by a clock that is moved.

use std::sync::Arc;
use std::time::Duration;

use ::events::event::admin::Price;
use ::events::event::{Chain, Change, Event, Stream, StreamKind};
use ::events::time::{Clock, ManualClock, parse_rfc3339, rfc3339};
use serde_json::json;

use super::models::{named, price};
use super::world::{OURS, World, operator};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A provider with a price, and one that follows it in a day.
async fn append_prices(world: &World, clock: &ManualClock) {
    let provider = named(1, "p");
    let (stream, event) =
        (Stream::new(StreamKind::Provider, provider.provider_id), Event::from(Change::created(provider)));
    world.append(stream, Chain::default(), event, vec![]).await;
    let second = Price { provider_id: price(1).provider_id, effective_from: clock.now() + DAY, ..price(2) };
    for price in [price(1), second] {
        let (stream, event) = (Stream::new(StreamKind::Price, price.price_id), Event::from(Change::created(price)));
        world.append(stream, Chain::default(), event, vec![]).await;
    }
}

/// Holds: query.as-of
#[tokio::test]
async fn windows_of_budgets_and_prices_in_force_are_those_of_the_time_that_is_asked_for() {
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-10-31T12:00:00Z").expect("a time")));
    let world = World::by(clock.clone()).await;
    append_prices(&world, &clock).await;
    let october = world.infers(OURS, 1000).await;
    let in_october = rfc3339(clock.now());
    clock.advance(DAY);
    // Nothing was recorded in November yet.
    let in_november = rfc3339(clock.now());
    clock.advance(DAY);
    let november = world.infers(OURS, 1001).await;
    world.infers(OURS, 1002).await;
    let path = format!("/v1/budgets/{}", OURS.budget());
    for (as_of, settled, start, in_force) in [
        (october.to_string(), "0.000000400", "2026-10-01T00:00:00.000000Z", 1),
        (in_october, "0.000000400", "2026-10-01T00:00:00.000000Z", 1),
        (in_november, "0.000000000", "2026-11-01T00:00:00.000000Z", 2),
        (november.to_string(), "0.000000400", "2026-11-01T00:00:00.000000Z", 2),
    ] {
        let budget = world.get(&operator(), &format!("{path}?as_of={as_of}")).await.expect("a budget");
        assert_eq!((&budget["settled_usd"], &budget["period_start"]), (&json!(settled), &json!(start)), "{as_of}");
        let budgets = world.items(&operator(), &format!("/v1/budgets?as_of={as_of}")).await;
        assert!(budgets.contains(&budget), "{as_of}: {budgets:?}");
        let prices = world.items(&operator(), &format!("/v1/admin/prices?as_of={as_of}")).await;
        let of_then: Vec<_> = prices.iter().filter(|price| price["in_force"] == true).collect();
        assert_eq!((prices.len(), of_then.len()), (2, 1), "{as_of}: {prices:?}");
        assert_eq!(of_then[0]["id"], json!(price(in_force).price_id), "{as_of}");
    }
    world.close().await;
}
