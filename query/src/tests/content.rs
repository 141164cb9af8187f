//! Sealed content that its tenant keeps no longer, by a clock that is moved.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::events::content::ContentPolicy;
use ::events::event::admin::Tenant;
use ::events::event::{Change, Event, Stream, StreamKind};
use ::events::money::NanoUsd;
use ::events::refusal::ErrorCode;
use ::events::time::{ManualClock, parse_rfc3339};
use ::events::usage::TokenClasses;
use content_store::{ContentReader, ContentStore, FOLDER};
use object_storage::{ObjectStoreAddress, Objects};
use serde_json::json;

use super::world::{OURS, World, operator};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A reader of an empty store.
fn reader_of(folder: &Path) -> ContentReader {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let address = ObjectStoreAddress::of_folder(folder);
    let objects = Objects::open(&address, &[FOLDER], |_| None, &tls).expect("a folder");
    ContentReader::new(ContentStore::new(objects), Arc::new(|_, _, _| Box::pin(async { Ok(None) })))
}

async fn change_tenant(world: &World, change: impl FnOnce(Tenant) -> Tenant) {
    let tenant = change(Tenant::new(OURS.tenant(), OURS.partner(), "house 0"));
    let stream = Stream::new(StreamKind::Tenant, OURS.tenant());
    world.append(stream, OURS.chain(), Event::from(Change::changed(tenant)), vec![]).await;
}

/// Holds: content.retention
#[tokio::test]
async fn what_is_missing_has_expired_once_the_days_of_its_tenant_are_over_and_not_while_it_is_held() {
    let store = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T23:00:00Z").expect("a time")));
    let world = World::with_content(clock.clone(), Some(reader_of(store.path()))).await;
    change_tenant(&world, |tenant| Tenant { content_days: Some(1), ..tenant }).await;
    let hold = world.admits_by(OURS, 1000, &[], ContentPolicy::Sealed).await;
    let position = world.completes(hold, (TokenClasses::default(), NanoUsd::new(400))).await;
    let requests = world.items(&operator(), &format!("/v1/inferences?min_position={position}")).await;
    let path = format!("/v1/inferences/{}/content", requests[0]["request_id"].as_str().expect("an id"));
    for _ in 0..2 {
        let kept = world.get(&operator(), &path).await.expect("what is kept");
        assert_eq!(kept["missing"], json!(["prompt"]), "{kept}");
        clock.advance(DAY);
    }
    let gone = world.get(&operator(), &path).await.expect_err("it has expired");
    assert_eq!((gone.code, &gone.details["reason"]), (ErrorCode::ContentGone, &json!("expired")));
    change_tenant(&world, |tenant| Tenant { content_days: Some(1), legal_hold: true, ..tenant }).await;
    let kept = world.get(&operator(), &path).await.expect("nothing was deleted");
    assert_eq!(kept["missing"], json!(["prompt"]), "{kept}");
    world.close().await;
}
