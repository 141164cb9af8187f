//! A gateway whose log is relayed to NATS: the relay itself is tested in outlets/nats_relay.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, Context as JetStream};
use async_nats::{Client, ConnectOptions};
use testing::nats::NatsServer;
use testing::upstream::{CERTIFICATE, MockUpstream};
use tokio::time::sleep;

use crate::gateway::Gateway;
use crate::tenant::Tenant;

const STREAM: &str = "LEDGERWAY";
const SOON: Duration = Duration::from_secs(60);

/// The stream has what `/v1/events` serves, at the same positions.
async fn must_become_a_copy(gateway: &Gateway, client: Client) -> JetStream {
    let jetstream = jetstream::new(client);
    let log = gateway.events().await;
    let began = Instant::now();
    while end(&jetstream).await < Some(log.len() as u64) {
        assert!(began.elapsed() < SOON, "{:?} of {}: {}", end(&jetstream).await, log.len(), gateway.stderr());
        sleep(Duration::from_millis(20)).await;
    }
    let stream = jetstream.get_stream(STREAM).await.expect("the stream");
    for (sequence, event) in (1..).zip(&log) {
        let message = stream.get_raw_message(sequence).await.expect("a message");
        let body: serde_json::Value = serde_json::from_slice(&message.payload).expect("JSON");
        assert_eq!(body, *event);
    }
    jetstream
}

async fn end(jetstream: &JetStream) -> Option<u64> {
    Some(jetstream.get_stream(STREAM).await.ok()?.cached_info().state.last_sequence)
}

async fn stderr_must_have(gateway: &Gateway, words: &str) {
    let began = Instant::now();
    while !gateway.stderr().contains(words) {
        assert!(began.elapsed() < SOON, "{words}: {}", gateway.stderr());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Holds: nats.copy, nats.said
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_serves_without_nats_and_relays_what_it_recorded_meanwhile() {
    let mut nats = NatsServer::start_with(&["authorization { user: relay, password: s3cret-of-nats }"]);
    let url = nats.url().replace("nats://", "nats://relay:s3cret-of-nats@");
    nats.kill();
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_NATS_URL", &url)]);
    let upstream = MockUpstream::start().await;
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    stderr_must_have(&gateway, "connect to nats://127.0.0.1:").await;
    nats.start_again();
    let connecting = ConnectOptions::with_user_and_password("relay".to_owned(), "s3cret-of-nats".to_owned());
    let client = connecting.connect(nats.url()).await.expect("a connection");
    let jetstream = must_become_a_copy(&gateway, client.clone()).await;
    // Deleted while nobody looks, it is filled again by the next gateway.
    gateway.stop();
    jetstream.delete_stream(STREAM).await.expect("deleted");
    gateway.start_again();
    tenant.chat("ok").await.must(200);
    must_become_a_copy(&gateway, client).await;
    stderr_must_have(&gateway, "the stream LEDGERWAY on NATS was deleted and made again").await;
    gateway.stop();
    assert!(!gateway.stderr().contains("s3cret"), "{}", gateway.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_can_be_encrypted() {
    let key = CERTIFICATE.replace("certificate.pem", "key.pem");
    let nats = NatsServer::start_with(&[&format!("tls {{ cert_file: \"{CERTIFICATE}\", key_file: \"{key}\" }}")]);
    let url = nats.url().replace("nats://127.0.0.1", "tls://localhost");
    // The file of issuers that the machine trusts.
    let mut gateway = Gateway::start_with(&[("LEDGERWAY_NATS_URL", &url), ("SSL_CERT_FILE", CERTIFICATE)]);
    let client = ConnectOptions::new().add_root_certificates(CERTIFICATE.into()).connect(&url).await;
    must_become_a_copy(&gateway, client.expect("a connection")).await;
    gateway.stop();
}
