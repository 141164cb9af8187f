//! The log, page by page and live.

use std::sync::Arc;
use std::time::Duration;

use ::events::event::admin::{Permission, Reach, RoleGrant, UserRole};
use ::events::event::{Change, Event, Resource, Stream, StreamKind};
use ::events::time::{ManualClock, parse_rfc3339};
use ::projections::caller::Caller;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::Value;

use super::world::{OURS, THEIRS, World, operator, text};

/// Positions of the events in the next chunk; `None` at the end.
async fn heard(body: &mut Body) -> Option<Vec<u64>> {
    let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await.expect("something within 5 s")?;
    let chunk = frame.expect("a frame").into_data().expect("data");
    let text = String::from_utf8(chunk.to_vec()).expect("UTF-8");
    Some(text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect())
}

const LISTEN: (&str, &str) = ("accept", "text/event-stream");

/// Holds: query.events
#[tokio::test]
async fn pages_are_cut_by_position_limit_and_type() {
    let world = World::new().await;
    let positions = |lines: Vec<serde_json::Value>| -> Vec<u64> {
        lines.iter().filter_map(|event| event["position"].as_u64()).collect()
    };
    assert_eq!(positions(world.lines(&operator(), "/v1/events?after=2&limit=3").await), [3, 4, 5]);
    let types = "/v1/events?types=key.created.v1,budget.opened.v1";
    assert_eq!(positions(world.lines(&operator(), types).await), [4, 5, 9, 10]);
    assert!(world.lines(&operator(), "/v1/events?after=10").await.is_empty());
    world.close().await;
}

/// Holds: query.events-time
#[tokio::test]
async fn a_time_is_the_part_of_the_log_that_was_recorded_in_it() {
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")));
    let world = World::by(clock.clone()).await;
    for number in 0..40 {
        let house = if number % 2 == 0 { OURS } else { THEIRS };
        world.infers(house, 1000 + number).await;
        clock.advance(Duration::from_micros(if number % 5 == 0 { 1 } else { 0 }));
    }
    let all = world.lines(&operator(), "/v1/events?limit=1000").await;
    let time = |event: &Value| event["recorded_at"].as_str().expect("a time").to_owned();
    let mut times: Vec<String> = all.iter().map(time).collect();
    times.dedup();
    assert!(times.len() > 5 && all.len() > 100, "{times:?}");
    times.extend(["2026-11-19T00:00:00.000000Z".to_owned(), "2026-11-21T00:00:00.000000Z".to_owned()]);
    let callers =
        [operator(), OURS.caller(Permission::ALL), Caller { reach: Reach::Partner(THEIRS.partner()), ..operator() }];
    for (from, to) in times.iter().flat_map(|from| times.iter().map(move |to| (from, to))) {
        for (caller, types) in callers.iter().zip(["", "&types=key.created.v1", "&types=budget.settled.v1"]) {
            let seen = world.lines(caller, &format!("/v1/events?limit=1000{types}")).await;
            let wanted: Vec<&Value> = seen.iter().filter(|event| *from <= time(event) && time(event) < *to).collect();
            // In two pages, of which the second begins where the first ended.
            let path = format!("/v1/events?from={from}&to={to}{types}");
            let first = world.send(caller, &format!("{path}&limit=7"), &[]).await;
            let next =
                first.headers().get("x-ledgerway-next-cursor").map(|next| next.to_str().expect("text").to_owned());
            let mut found = lines_of(&text(first).await);
            if let Some(next) = next {
                let second = world.send(caller, &format!("{path}&limit=1000&after={next}"), &[]).await;
                assert!(second.headers().get("x-ledgerway-next-cursor").is_none(), "{path}");
                found.extend(lines_of(&text(second).await));
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{path}");
        }
    }
    world.close().await;
}

fn lines_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Holds: query.events-time
#[tokio::test]
async fn a_stream_of_a_time_ends_with_it() {
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").expect("a time")));
    let world = World::by(clock.clone()).await;
    world.infers(OURS, 1000).await;
    clock.advance(Duration::from_secs(60));
    world.infers(OURS, 1001).await;
    let path = "/v1/events?from=2026-11-20T08:00:30Z&to=2026-11-20T08:01:30Z";
    let mut open = world.send(&operator(), path, &[LISTEN]).await.into_body();
    assert_eq!(heard(&mut open).await, Some((15..=18).collect()), "its time is not over yet");
    clock.advance(Duration::from_secs(60));
    world.infers(OURS, 1002).await;
    assert_eq!(heard(&mut open).await, None);
    let mut past = world.send(&operator(), path, &[LISTEN]).await.into_body();
    assert_eq!((heard(&mut past).await, heard(&mut past).await), (Some((15..=18).collect()), None));
    let headers = [LISTEN, ("last-event-id", "17")];
    let mut resumed = world.send(&operator(), path, &headers).await.into_body();
    assert_eq!((heard(&mut resumed).await, heard(&mut resumed).await), (Some(vec![18]), None));
    world.close().await;
}

/// Holds: query.events-stream
#[tokio::test]
async fn a_stream_gives_what_there_is_then_what_comes_and_resumes() {
    let world = World::new().await;
    let listener = operator();
    let response = world.send(&listener, "/v1/events?after=2", &[LISTEN]).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    assert_eq!(heard(&mut body).await, Some((3..=10).collect()));
    world.infers(OURS, 1000).await;
    let mut live = Vec::new();
    while live.len() < 4 {
        live.extend(heard(&mut body).await.expect("the stream goes on"));
    }
    assert_eq!(live, [11, 12, 13, 14]);
    let headers = [LISTEN, ("last-event-id", "12")];
    let mut resumed = world.send(&listener, "/v1/events?after=0", &headers).await.into_body();
    assert_eq!(heard(&mut resumed).await, Some(vec![13, 14]));
    world.closing.send_replace(true);
    assert_eq!(heard(&mut resumed).await, None, "a stream ends when the gateway closes");
    world.close().await;
}

/// Holds: query.events-reach
#[tokio::test]
async fn a_tenant_hears_its_own_events_alone_and_nothing_once_its_key_is_revoked() {
    let world = World::new().await;
    let caller = OURS.caller(&[Permission::EventsRead]);
    let mut body = world.send(&caller, "/v1/events", &[LISTEN]).await.into_body();
    assert_eq!(heard(&mut body).await, Some(vec![2, 3, 4, 5]));
    world.infers(THEIRS, 1000).await;
    let ours = world.infers(OURS, 1001).await;
    let mut live = Vec::new();
    while live.last() != Some(&ours) {
        live.extend(heard(&mut body).await.expect("the stream goes on"));
    }
    assert_eq!(live, (ours - 3..=ours).collect::<Vec<_>>());
    let stream = Stream::new(StreamKind::Key, OURS.key());
    let revoked = Event::Resource(Resource::Key(Change::Ended(OURS.key())));
    let position = world.append(stream, OURS.chain(), revoked, vec![]).await;
    let after_the_end = async { while heard(&mut body).await.is_some_and(|heard| heard == [position]) {} };
    tokio::time::timeout(Duration::from_secs(2), after_the_end).await.expect("the stream ends");
    world.close().await;
}

#[tokio::test]
async fn a_key_whose_permissions_do_not_all_reach_as_far_as_its_roles_can_listen() {
    let world = World::new().await;
    let roles = vec![RoleGrant { role: UserRole::Auditor, scope: Reach::Platform }];
    let user = OURS.user_with(roles);
    let stream = Stream::new(StreamKind::User, OURS.user());
    world.append(stream, OURS.chain(), Event::from(Change::changed(user)), vec![]).await;
    let permissions = vec![Permission::EventsRead, Permission::AdminAccess];
    let changed = Event::from(Change::changed(OURS.key_with(permissions.clone())));
    world.append(Stream::new(StreamKind::Key, OURS.key()), OURS.chain(), changed, vec![]).await;
    // A platform's auditor whose key may also administrate does neither beyond its tenant.
    let mut body = world.send(&OURS.caller(&permissions), "/v1/events", &[LISTEN]).await.into_body();
    assert_eq!(heard(&mut body).await, Some(vec![2, 3, 4, 5, 11, 12]));
    world.close().await;
}
