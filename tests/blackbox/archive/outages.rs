//! Gateways that are killed while they archive, and object stores that are gone.

use std::fs;
use std::time::Duration;

use serde_json::json;
use testing::s3::{ACCESS_KEY, S3Server};

use super::{SMALL, address, run, run_with, verified, wait_until_archived};
use crate::configuration::said;
use crate::gateway::{Gateway, ledgerway};
use crate::shared_ledger::{folders, migrated, node};

async fn record(gateway: &Gateway, partners: usize) {
    for number in 0..partners {
        gateway.operator().post("/v1/admin/partners", &json!({ "name": format!("p{number}") })).await.must(201);
    }
}

/// Holds: bin.archive-while-serving
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_again_and_again_leaves_an_archive_that_is_whole() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &SMALL);
    let archive = address(&gateway.data().join("objects"));
    for round in 0..6_u64 {
        record(&gateway, 20).await;
        tokio::time::sleep(Duration::from_millis(round * 211 % 700)).await;
        gateway.kill();
        let (code, words) = said(ledgerway().args(["verify", "--shallow", "--archive", &archive]));
        assert!(code == Some(0) || words.contains("there is no archive"), "round {round}: {words}");
        gateway.start_again();
    }
    wait_until_archived(&archive, gateway.head().await);
    gateway.stop();
    assert_eq!(verified(0, &archive, &[])["sound"], true);
}

/// Holds: bin.archive-while-serving, bin.archive-secrets
#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_is_gone_stops_no_gateway_and_gets_what_it_missed() {
    let [folder] = folders();
    let mut server = S3Server::start();
    let url = server.url_with_key("gateway");
    let env = [&SMALL[1..], &[("LEDGERWAY_OBJECT_STORE_URL", url.as_str()), ("RUST_LOG", "debug")]].concat();
    let mut gateway = Gateway::start_in(folder.path(), &env);
    let archive = || {
        let mut command = ledgerway();
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY.0).env("AWS_SECRET_ACCESS_KEY", ACCESS_KEY.1);
        command
    };
    record(&gateway, 10).await;
    server.kill();
    record(&gateway, 30).await;
    // Also one that starts without it.
    gateway.stop();
    gateway.start_again();
    record(&gateway, 3).await;
    let head = gateway.head().await;
    server.start_again();
    let started = std::time::Instant::now();
    loop {
        let check = ["verify", "--json", "--archive", &server.url("gateway")].map(str::to_owned);
        let (code, words) = said(archive().args(check));
        if code == Some(0) && words.contains(&format!("\"events\":{head},")) {
            break;
        }
        assert!(started.elapsed() < super::ARCHIVED_MAX, "{words}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    gateway.stop();
    let words = [gateway.stdout(), gateway.stderr()].concat();
    assert!(!words.contains(ACCESS_KEY.1), "the access key is in the log");
    let to = folder.path().join("restored").display().to_string();
    let words = run_with(0, &["restore", "--archive", &server.url("gateway"), "--to", &to], archive());
    assert!(words.contains(&format!("restored {head} events")), "{words}");
    run(0, &["verify", "--data", &to]);
}

/// Holds: bin.archive-while-serving
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_database_write_one_archive_and_the_next_takes_over_from_one_that_was_killed() {
    let database = migrated();
    let [first, second, objects] = folders();
    let archive = address(objects.path());
    let env = [&SMALL[..], &[("LEDGERWAY_OBJECT_STORE_URL", archive.as_str())]].concat();
    let (mut one, mut other) = (node(&database.url(), first.path(), &env), node(&database.url(), second.path(), &env));
    record(&one, 10).await;
    record(&other, 10).await;
    wait_until_archived(&archive, other.head().await);
    one.kill();
    record(&other, 10).await;
    wait_until_archived(&archive, other.head().await);
    one.start_again();
    other.kill();
    record(&one, 10).await;
    wait_until_archived(&archive, one.head().await);
    one.stop();
    assert_eq!(verified(0, &archive, &[])["sound"], true);
}

/// Holds: bin.archive-while-serving
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_used_keeps_no_gateway_from_starting_and_is_archived_to_when_it_can_be() {
    let [folder, other] = folders();
    let (mount, missing) = (folder.path().join("mount"), other.path().join("missing"));
    fs::write(&mount, "no folder can be made in it").expect("a file");
    let archive = address(&mount.join("objects"));
    let env = [&SMALL[1..], &[("LEDGERWAY_OBJECT_STORE_URL", archive.as_str())]].concat();
    let mut gateway = Gateway::start_in(folder.path(), &env);
    record(&gateway, 3).await;
    fs::remove_file(&mount).expect("a file");
    fs::create_dir(&mount).expect("a folder");
    wait_until_archived(&archive, gateway.head().await);
    gateway.stop();
    assert!([gateway.stdout(), gateway.stderr()].concat().contains("the ledger was not compared with its archive"));
    // One that would only compare its ledger with the archive, which is not there yet.
    let env = [("LEDGERWAY_OBJECT_STORE_URL", address(&missing)), ("LEDGERWAY_ARCHIVING", "false".to_owned())];
    let mut compared = Gateway::start_in(other.path(), &env.each_ref().map(|(name, value)| (*name, value.as_str())));
    record(&compared, 1).await;
    compared.stop();
    assert!(!missing.exists());
}
