//! Records of reads: one for each answer, and none for refusals.

use ::events::event::access::{AccessRead, ReadKind};
use ::events::event::admin::Permission;
use ::events::event::{Access, Event, Stream, StreamKind};
use ::events::ids::RequestId;
use ::events::refusal::ErrorCode;
use chrono::DateTime;
use uuid::Uuid;

use super::world::{OURS, World, operator};

const REQUEST: u128 = 1000;

/// The reads since the last call.
fn taken(world: &World) -> Vec<ReadKind> {
    world.reads.lock().expect("a list").drain(..).map(|(_, kind)| kind).collect()
}

/// Holds: event.reads
#[tokio::test]
async fn each_answer_from_the_record_is_one_read_of_its_kind() {
    let world = World::new().await;
    let position = world.infers(OURS, REQUEST).await;
    let request = RequestId::from(Uuid::from_u128(REQUEST));
    let after = format!("min_position={position}");
    for (path, kind) in [
        (format!("/v1/audit?{after}"), ReadKind::Audit),
        (format!("/v1/audit?{after}&format=csv"), ReadKind::Audit),
        (format!("/v1/audit?{after}&category=reads"), ReadKind::Audit),
        ("/v1/events".to_owned(), ReadKind::Events),
        (format!("/v1/usage?{after}"), ReadKind::Usage),
        (format!("/v1/usage?{after}&group_by=metadata.team&format=ndjson"), ReadKind::Usage),
        (format!("/v1/inferences?{after}"), ReadKind::Inferences),
        (format!("/v1/inferences?{after}&format=csv"), ReadKind::Inferences),
        (format!("/v1/inferences/{request}?{after}"), ReadKind::Inferences),
    ] {
        let answer = world.send(&operator(), &path, &[]).await;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        assert_eq!(taken(&world), [kind], "{path}");
    }
    let tail = world.send(&operator(), "/v1/events", &[("accept", "text/event-stream")]).await;
    assert_eq!((tail.status().as_u16(), taken(&world)), (200, vec![ReadKind::Events]), "when it begins");
    world.close().await;
}

/// Holds: query.audit-category
#[tokio::test]
async fn the_audit_has_reads_for_whoever_asks_for_them() {
    let world = World::new().await;
    let read = AccessRead { kind: ReadKind::Audit, minute: DateTime::UNIX_EPOCH, count: 1 };
    let stream = Stream::new(StreamKind::Access, OURS.key());
    let position = world.append(stream, OURS.chain(), Event::Access(Access::Read(Box::new(read))), vec![]).await;
    for (query, has_reads, has_others) in [
        ("", false, true),
        ("&actor=operator", false, true),
        ("&category=reads", true, false),
        ("&category=reads,administration", true, true),
        ("&category=money", false, true),
        ("&action=access.read", true, false),
        ("&action=access.read&category=money", false, false),
    ] {
        let entries = world.items(&operator(), &format!("/v1/audit?min_position={position}{query}")).await;
        let reads = entries.iter().filter(|entry| entry["category"] == "reads").count();
        assert_eq!((reads > 0, entries.len() > reads), (has_reads, has_others), "{query}");
    }
    world.close().await;
}

/// Holds: event.reads
#[tokio::test]
async fn what_shows_nothing_of_the_record_is_no_read() {
    let world = World::new().await;
    let position = world.infers(OURS, REQUEST).await;
    for path in ["/v1/budgets", "/v1/me", "/v1/log/head", "/v1/projections", "/v1/admin/keys", "/v1/models"] {
        world.get(&operator(), path).await.expect(path);
    }
    let nothing = OURS.caller(&[Permission::ModelsUse]);
    for path in ["/v1/audit", "/v1/events", "/v1/usage", "/v1/inferences"] {
        assert_eq!(world.get(&nothing, path).await.expect_err(path).code, ErrorCode::Forbidden);
        let wrong = format!("{path}?colour=red");
        assert_eq!(world.get(&operator(), &wrong).await.expect_err(&wrong).code, ErrorCode::InvalidRequest);
    }
    let absent = format!("/v1/inferences/{}?min_position={position}", RequestId::from(Uuid::from_u128(7)));
    assert_eq!(world.get(&operator(), &absent).await.expect_err(&absent).code, ErrorCode::NotFound);
    assert_eq!(taken(&world), []);
    let ours = OURS.caller(Permission::ALL);
    world.get(&ours, "/v1/usage").await.expect("usage");
    assert_eq!(*world.reads.lock().expect("a list"), [(ours.actor.clone(), ReadKind::Usage)], "by whom");
    world.close().await;
}
