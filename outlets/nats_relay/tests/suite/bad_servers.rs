//! Servers that cannot be used.

use crate::world::{NO_LIMIT, Relaying, World};

/// Holds: nats.said
#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let world = World::with_settings(&["authorization { user: relay, password: right }"]);
    world.record(5).await;
    let address = world.nats.url();
    let wrong = address.replace("nats://", "nats://relay:s3cret@");
    let mut relaying = Relaying::start(&world.log, &wrong, NO_LIMIT);
    let why = relaying.must_fail_with(&["connect to", "authorization violation"]).await;
    assert!(!why.contains("s3cret") && !why.contains("relay:"), "{why}");
    let right = address.replace("nats://", "nats://relay:right@");
    Relaying::start(&world.log, &right, NO_LIMIT).must_reach(5).await;
}

/// Holds: nats.said
#[tokio::test]
async fn what_the_relay_may_not_publish_is_said_for_as_long_as_nothing_is_accepted() {
    let user = |publish: &str| {
        let permissions = format!("{{ publish: [{publish}], subscribe: [\"_INBOX.>\"] }}");
        format!("authorization {{ users: [{{ user: relay, password: p, permissions: {permissions} }}] }}")
    };
    let api = "\"$JS.API.STREAM.*.LEDGERWAY\", \"$JS.API.STREAM.MSG.GET.LEDGERWAY\"";
    let mut world = World::with_settings(&[&user(api)]);
    let address = world.nats.url().replace("nats://", "nats://relay:p@");
    world.record(5).await;
    let mut relaying = Relaying::start(&world.log, &address, NO_LIMIT);
    relaying.must_fail_with(&["NATS reports an error", "Permissions Violation for Publish", "ledgerway.events"]).await;
    relaying.must_keep_failing().await;
    world.nats.set(&[&user(&format!("\"ledgerway.events.>\", {api}"))]);
    world.nats.start_again();
    relaying.must_reach(5).await;
    // An inspection that is refused.
    world.nats.set(&[&user("\"ledgerway.events.>\"")]);
    world.nats.start_again();
    relaying.must_fail_with(&["Permissions Violation for Publish", "$JS.API.STREAM.INFO.LEDGERWAY"]).await;
}

/// Holds: nats.said
#[tokio::test]
async fn an_account_without_jetstream_is_said() {
    let world = World::with_settings(&["accounts { A { users: [{ user: u, password: p }] } }"]);
    let address = world.nats.url().replace("nats://", "nats://u:p@");
    let mut relaying = Relaying::start(&world.log, &address, NO_LIMIT);
    relaying.must_fail_with(&["JetStream"]).await;
}

#[tokio::test]
async fn the_next_server_is_used_if_one_does_not_answer() {
    let world = World::new();
    world.record(5).await;
    // Nothing listens on port 9.
    let address = format!("nats://127.0.0.1:9,{}", world.nats.url());
    let _relaying = Relaying::start(&world.log, &address, NO_LIMIT);
    world.must_become_a_copy().await;
}
