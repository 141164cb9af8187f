//! Rights that end while a question waits for its turn: callers here are as they were when they were let in.

use std::time::Duration;

use ::events::event::admin::{Permission, Reach};
use ::events::event::{Change, Event, Resource, Stream, StreamKind};
use ::events::ids::RequestId;
use ::events::refusal::ErrorCode;
use ::projections::caller::Caller;
use uuid::Uuid;

use super::world::{OURS, THEIRS, World};

const REQUEST: u128 = 1000;

fn questions() -> Vec<String> {
    let request = RequestId::from(Uuid::from_u128(REQUEST));
    vec![
        "/v1/usage".to_owned(),
        "/v1/usage?group_by=metadata.team".to_owned(),
        format!("/v1/usage?tenant={}", OURS.tenant()),
        "/v1/budgets".to_owned(),
        format!("/v1/budgets/{}", OURS.budget()),
        "/v1/audit".to_owned(),
        "/v1/inferences".to_owned(),
        format!("/v1/inferences/{request}"),
        "/v1/events".to_owned(),
        "/v1/admin/keys".to_owned(),
        format!("/v1/admin/keys/{}", OURS.key()),
    ]
}

/// The key's own event, in force when this returns.
async fn append(world: &World, event: Event) -> u64 {
    let position = world.append(Stream::new(StreamKind::Key, OURS.key()), OURS.chain(), event, vec![]).await;
    assert!(world.state.tables.wait_for(position, Duration::from_secs(5)).await, "the tables have it");
    position
}

/// Holds: query.caller-when-read
#[tokio::test]
async fn whoever_lost_its_right_before_its_turn_reads_nothing() {
    let revoked = || Event::Resource(Resource::Key(Change::Ended(OURS.key())));
    let reduced = || Event::from(Change::changed(OURS.key_with(vec![Permission::ModelsUse])));
    for (event, code, me) in [
        (revoked(), ErrorCode::Unauthenticated, Some(ErrorCode::Unauthenticated)),
        (reduced(), ErrorCode::Forbidden, None),
    ] {
        let world = World::new().await;
        world.infers(OURS, REQUEST).await;
        let caller = OURS.caller(Permission::ALL);
        append(&world, event).await;
        for question in questions() {
            let refused = world.get(&caller, &question).await.expect_err(&question);
            assert_eq!(refused.code, code, "{question}");
        }
        let listens = world.send(&caller, "/v1/events", &[("accept", "text/event-stream")]).await;
        assert_eq!(listens.status(), openapi::refusals::status(code));
        assert_eq!(world.get(&caller, "/v1/me").await.err().map(|refused| refused.code), me);
        world.close().await;
    }
}

/// Holds: query.caller-when-read
#[tokio::test]
async fn whoever_reaches_less_far_at_its_turn_reads_no_further() {
    let world = World::new().await;
    world.infers(OURS, REQUEST).await;
    world.infers(THEIRS, REQUEST + 1).await;
    let position = append(&world, Event::from(Change::changed(OURS.key_with(Permission::ALL.to_vec())))).await;
    let reached = Caller { reach: Reach::Platform, ..OURS.caller(Permission::ALL) };
    for list in ["/v1/budgets", "/v1/inferences", "/v1/admin/tenants"] {
        let path = format!("{list}?min_position={position}");
        assert_eq!(world.items(&reached, &path).await.len(), 1, "{list}");
    }
    for one in [format!("/v1/budgets/{}", THEIRS.budget()), format!("/v1/admin/keys/{}", THEIRS.key())] {
        assert_eq!(world.get(&reached, &one).await.expect_err(&one).code, ErrorCode::NotFound);
    }
    let named = world.get(&reached, &format!("/v1/usage?tenant=house%20{}", THEIRS.0)).await;
    assert_eq!(named.expect_err("another's name").code, ErrorCode::InvalidRequest);
    world.close().await;
}
