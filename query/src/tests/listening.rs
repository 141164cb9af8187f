//! The log, page by page and live.

use std::time::Duration;

use ::events::event::admin::{Ended, Permission, Reach, Role, RoleGrant};
use ::events::event::{Event, Stream, StreamKind};
use axum::body::Body;
use http_body_util::BodyExt;

use super::world::{OURS, THEIRS, World, operator};

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
    let revoked = Event::KeyRevoked(Box::new(Ended { id: OURS.key() }));
    let position = world.append(stream, OURS.chain(), revoked, vec![]).await;
    let after_the_end = async { while heard(&mut body).await.is_some_and(|heard| heard == [position]) {} };
    tokio::time::timeout(Duration::from_secs(2), after_the_end).await.expect("the stream ends");
    world.close().await;
}

#[tokio::test]
async fn a_key_whose_permissions_do_not_all_reach_as_far_as_its_roles_can_listen() {
    let world = World::new().await;
    let roles = vec![RoleGrant { role: Role::Auditor, scope: Reach::Platform }];
    let user = OURS.user_with(roles);
    let stream = Stream::new(StreamKind::User, OURS.user());
    world.append(stream, OURS.chain(), Event::UserChanged(Box::new(user)), vec![]).await;
    let permissions = vec![Permission::EventsRead, Permission::AdminAccess];
    let changed = Event::KeyChanged(Box::new(OURS.key_with(permissions.clone())));
    world.append(Stream::new(StreamKind::Key, OURS.key()), OURS.chain(), changed, vec![]).await;
    // A platform's auditor whose key may also administrate does neither beyond its tenant.
    let mut body = world.send(&OURS.caller(&permissions), "/v1/events", &[LISTEN]).await.into_body();
    assert_eq!(heard(&mut body).await, Some(vec![2, 3, 4, 5, 11, 12]));
    world.close().await;
}
