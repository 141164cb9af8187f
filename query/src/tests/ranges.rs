//! Usage of any time, held against the log itself.

use std::sync::Arc;
use std::time::Duration;

use ::events::event::{Event, Hold, Inference, Recorded};
use ::events::money::NanoUsd;
use ::events::time::{ManualClock, from_micros, parse_rfc3339, rfc3339};
use ::events::usage::TokenClasses;
use serde_json::Value;

use super::world::{OURS, THEIRS, World, operator};

const MINUTE: Duration = Duration::from_secs(60);

/// Requests, refusals, output tokens, and in nano-dollars what was charged, first and by corrections.
type Counted = (i64, i64, i64, [i128; 2]);

/// Three hours of both houses: requests that end, some of them later than their hold, that go on, and that are refused.
async fn lived() -> World {
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-22T22:10:00.5Z").expect("a time")));
    let world = World::by(clock.clone()).await;
    for number in 0..24 {
        let house = if number % 3 == 0 { THEIRS } else { OURS };
        let team = if number % 2 == 0 { "red" } else { "blue" };
        let tokens = TokenClasses { output_text_tokens: number, ..TokenClasses::default() };
        let hold = world.admits(house, 1000 + u128::from(number), &[("team", team)]).await;
        match number % 6 {
            0 => drop(hold),
            1 => {
                clock.advance(2 * MINUTE);
                // Whatever is written next ends the hold, which the end then corrects.
                world.refuses(house, 3000 + u128::from(number)).await;
                world.completes(hold, (tokens, NanoUsd::new(400))).await;
            }
            _ => {
                clock.advance(MINUTE / 4);
                world.completes(hold, (tokens, NanoUsd::new(400))).await;
            }
        }
        for refused in 0..(number + 1) % 3 {
            world.refuses(house, 2000 + u128::from(10 * number + refused)).await;
        }
        clock.advance(7 * MINUTE + Duration::from_micros(number));
    }
    world
}

async fn log_of(world: &World) -> Vec<Recorded> {
    world.log.read(|reader| reader.after(0, 100_000)).await.expect("the log")
}

/// Counts the events in a span of time, in microseconds.
fn counted(log: &[Recorded], (from, to): (i64, i64)) -> Counted {
    let lies_in = |micros: i64| from <= micros && micros < to;
    let (mut requests, mut refused, mut tokens, mut charged) = (0, 0, 0, [0; 2]);
    for recorded in log {
        let at = recorded.recorded_at.timestamp_micros();
        match &recorded.event {
            Event::Inference(Inference::Admitted(_)) if lies_in(at) => requests += 1,
            Event::Inference(Inference::Refused(turned_away)) if lies_in(at) => {
                refused += i64::try_from(turned_away.count).expect("few")
            }
            Event::Inference(Inference::Completed(ended) | Inference::Aborted(ended))
                if lies_in(ended.admitted_at.timestamp_micros()) =>
            {
                let used = ended.usage.as_ref().map_or(0, |usage| usage.tokens.output_text_tokens);
                tokens += i64::try_from(used).expect("few");
                charged[0] += i128::from(ended.cost_usd.nanos());
            }
            Event::Hold(Hold::Adjusted(correction)) if lies_in(at) => {
                charged[1] += i128::from(correction.delta_usd.nanos())
            }
            _ => {}
        }
    }
    (requests, refused, tokens, charged)
}

fn shown(row: &Value) -> Counted {
    let number = |name: &str| row[name].as_i64().expect("a number");
    let usd = |name: &str| -> i128 {
        row[name].as_str().and_then(|usd| usd.parse::<NanoUsd>().ok()).expect("money").nanos().into()
    };
    let (cost, adjusted) = (usd("cost_usd"), usd("adjusted_usd"));
    (number("requests"), number("refused"), number("output_text_tokens"), [cost - adjusted, adjusted])
}

fn sum_of(rows: &[Value]) -> Counted {
    rows.iter().map(shown).fold((0, 0, 0, [0; 2]), |sum, row| {
        let [first, corrections] = sum.3;
        (sum.0 + row.0, sum.1 + row.1, sum.2 + row.2, [first + row.3[0], corrections + row.3[1]])
    })
}

/// At every event and a microsecond before and behind it, at whole hours, and between.
fn instants(log: &[Recorded]) -> Vec<i64> {
    let of_requests = log.iter().filter(|recorded| recorded.context.request_id.is_some());
    let mut instants: Vec<i64> = of_requests
        .flat_map(|recorded| {
            let at = recorded.recorded_at.timestamp_micros();
            [at - 1, at, at + 1, at - at.rem_euclid(3_600_000_000), at - at.rem_euclid(600_000_000)]
        })
        .collect();
    instants.sort_unstable();
    instants.dedup();
    instants
}

/// Holds: query.usage-exact, query.usage-adjusted
#[tokio::test]
async fn usage_of_any_time_is_what_the_log_says_of_it() {
    let world = lived().await;
    let log = log_of(&world).await;
    let head = log.last().expect("events").position;
    assert!(log.iter().any(|recorded| matches!(recorded.event, Event::Hold(Hold::Adjusted(_)))), "a correction");
    let instants = instants(&log);
    assert!(instants.len() > 100, "{}", instants.len());
    let groups = ["", "hour", "day,tenant", "week,backend", "month,key,model", "hour,metadata.team"];
    for (number, from) in instants.iter().enumerate() {
        // Near, far, and somewhere between.
        let to = instants[(number + 1 + number * number % 97).min(instants.len() - 1)];
        let (first, last) = (rfc3339(from_micros(*from)), rfc3339(from_micros(to)));
        let by = groups[number % groups.len()];
        let path = format!("/v1/usage?min_position={head}&from={first}&to={last}&group_by={by}");
        let page = world.get(&operator(), &path).await.expect("an answer");
        let rows = page["items"].as_array().expect("items");
        let wanted = counted(&log, (*from, to));
        // By metadata a correction counts with its request.
        let of = |row: Counted| if by.contains("metadata") { (row.0, row.1, row.2, [row.3[0], 0]) } else { row };
        let (wanted, tokens) = (of(wanted), wanted.2);
        assert_eq!(of(sum_of(rows)), wanted, "{path}");
        assert_eq!(of(shown(&page["totals"])), wanted, "{path}");
        assert_eq!((page["from"].as_str(), page["to"].as_str()), (Some(&*first), Some(&*last)));
        let (p95, has_ended) = (&page["totals"]["latency_ms_p95"], tokens > 0);
        assert!(p95.is_null() != has_ended || p95 == 12, "{path}: {p95}");
    }
    world.close().await;
}

/// Holds: query.usage-exact
#[tokio::test]
async fn parts_of_an_hour_are_counted_by_whatever_bounds_them() {
    let world = lived().await;
    let head = log_of(&world).await.last().expect("events").position;
    let time = "from=2026-11-22T22:31:07Z&to=2026-11-23T01:17:09Z";
    let usage = |caller, query: String| {
        let world = &world;
        async move { world.get(&caller, &format!("/v1/usage?min_position={head}&{time}&{query}")).await.expect("usage") }
    };
    let by_tenant = usage(operator(), "group_by=tenant,partner,user,key".into()).await;
    let rows = by_tenant["items"].as_array().expect("items");
    assert_eq!(rows.len(), 2, "{by_tenant}");
    for (row, house) in rows.iter().zip([OURS, THEIRS]) {
        assert!(shown(row).0 > 3 && shown(row).1 > 0 && shown(row).2 > 0, "{row}");
        for filter in [
            format!("tenant={}", house.tenant()),
            format!("partner={}", house.partner()),
            format!("key={}", house.key()),
            format!("user={}", house.user()),
        ] {
            assert_eq!(shown(&usage(operator(), filter.clone()).await["totals"]), shown(row), "{filter}");
        }
        let own = house.caller(::events::event::admin::Permission::ALL);
        assert_eq!(shown(&usage(own, String::new()).await["totals"]), shown(row));
    }
    let foreign =
        usage(OURS.caller(::events::event::admin::Permission::ALL), format!("tenant={}", THEIRS.tenant())).await;
    assert_eq!((shown(&foreign["totals"]).0, foreign["items"].as_array().map(Vec::len)), (0, Some(0)));
    world.close().await;
}

/// Holds: query.usage-totals
#[tokio::test]
async fn totals_are_of_all_groups_on_whatever_page() {
    let world = lived().await;
    let head = log_of(&world).await.last().expect("events").position;
    let asked = |query: &str| format!("/v1/usage?min_position={head}&group_by=hour,backend,tenant&{query}");
    for time in ["", "from=2026-11-22T22:31:07Z", "metadata.team=red"] {
        let whole = world.get(&operator(), &asked(time)).await.expect("a page");
        let rows = whole["items"].as_array().expect("items").clone();
        assert!(rows.len() > 3);
        assert_eq!(shown(&whole["totals"]), sum_of(&rows));
        let mut cursor = String::new();
        for row in &rows {
            let page = world.get(&operator(), &asked(&format!("{time}&limit=1{cursor}"))).await.expect("a page");
            assert_eq!((&page["items"][0], &page["totals"]), (row, &whole["totals"]));
            cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
        }
        let without = world.get(&operator(), &asked(&format!("{time}&totals=false"))).await.expect("a page");
        assert_eq!((&without["totals"], &without["items"]), (&Value::Null, &whole["items"]));
    }
    let nothing = world.get(&operator(), &asked("to=2020-01-01")).await.expect("a page");
    assert_eq!((shown(&nothing["totals"]).0, &nothing["totals"]["latency_ms_p50"]), (0, &Value::Null));
    world.close().await;
}

/// Holds: query.usage-weeks
#[tokio::test]
async fn a_week_begins_on_monday() {
    let world = lived().await;
    let head = log_of(&world).await.last().expect("events").position;
    let rows = world.items(&operator(), &format!("/v1/usage?min_position={head}&group_by=week,day")).await;
    let days: Vec<_> = rows.iter().map(|row| (row["week"].as_str(), row["day"].as_str())).collect();
    assert_eq!(days, [(Some("2026-11-16"), Some("2026-11-22")), (Some("2026-11-23"), Some("2026-11-23"))]);
    for row in &rows {
        let path = format!("/v1/usage?min_position={head}&week={}", row["week"].as_str().expect("a day"));
        let of_week = world.get(&operator(), &path).await.expect("a page");
        assert_eq!(shown(&of_week["totals"]), shown(row));
        assert_eq!(of_week["from"], format!("{}T00:00:00.000000Z", row["week"].as_str().expect("a day")));
    }
    world.close().await;
}
