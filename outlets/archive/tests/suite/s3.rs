//! An archive on an S3 server.

use std::fs;

use archive::{Archive, Sealed};
use object_storage::ObjectStoreAddress;
use testing::s3::{ACCESS_KEY, S3Server};

use crate::damage::check;
use crate::story::{Ledger, archive_all, archiver, open, tls};

fn address(url: &str) -> ObjectStoreAddress {
    url.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_a_bucket_is_written_continued_and_read() {
    let (server, ledger) = (S3Server::start(), Ledger::with_events(10).await);
    let archive = open(&address(&server.url_with_key("audit/eu")));
    assert_eq!(archive.newest(10).await.expect("a bucket"), None);
    assert_eq!(archive_all(&archive, &*ledger.reader(), 4).await, 3);
    ledger.record(5).await;
    assert_eq!(archive_all(&archive, &*ledger.reader(), 4).await, 2);
    for hint in [0, 3, 15, 5000] {
        let newest = archive.newest(hint).await.expect("readable").expect("a manifest");
        assert_eq!((newest.manifest.first, newest.manifest.last), (15, 15), "{hint}");
    }
    let checked = check(&archive).await.expect("sound");
    assert_eq!((checked.manifests, checked.last, checked.unused_segments), (5, 15, 0));
    // The access key comes from the environment as well.
    let variable = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY.0.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(ACCESS_KEY.1.to_owned()),
        _ => None,
    };
    let read = Archive::open_existing(&address(&server.url("audit/eu")), variable, &tls()).expect("an archive");
    assert_eq!(check(&read).await.expect("sound").last, 15);
    let elsewhere = Archive::open_existing(&address(&server.url("audit")), variable, &tls()).expect("an archive");
    assert_eq!(elsewhere.newest(15).await.expect("readable"), None, "another prefix is another archive");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_put_once_and_of_two_archivers_both_continue_what_is_there() {
    let (server, ledger) = (S3Server::start(), Ledger::with_events(8).await);
    let (archive, log) = (open(&address(&server.url_with_key("two"))), ledger.reader());
    let (mut one, mut other) = (archiver(&archive, &*log, 4).await, archiver(&archive, &*log, 6).await);
    for each in [&mut one, &mut other] {
        each.add(&log.after(0, 8).expect("a page")).expect("they follow");
    }
    let [of_one, of_other] = [&mut one, &mut other].map(|it| it.pack().expect("a segment").expect("events"));
    assert_eq!(one.put(&of_one).await.expect("put"), Sealed::Own);
    assert_eq!(other.put(&of_other).await.expect("put"), Sealed::ByOther);
    assert_eq!(archiver(&archive, &*log, 6).await.position(), 4);
    archive_all(&archive, &*log, 4).await;
    assert_eq!(check(&archive).await.expect("sound").last, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_an_error_that_tells_no_secret_and_its_archive_goes_on_when_it_is_back() {
    let (mut server, ledger) = (S3Server::start(), Ledger::with_events(6).await);
    let archive = open(&address(&server.url_with_key("gone")));
    archive_all(&archive, &*ledger.reader(), 4).await;
    server.kill();
    let error = archive.newest(6).await.expect_err("nobody answers").to_string();
    assert!(error.contains("cannot list") && error.contains("s3://ledger-archive/gone"), "{error}");
    assert!(!error.contains(ACCESS_KEY.1), "{error}");
    server.start_again();
    ledger.record(2).await;
    archive_all(&archive, &*ledger.reader(), 4).await;
    assert_eq!(check(&archive).await.expect("sound").last, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_access_key_is_an_error_that_repeats_no_secret() {
    let (server, ledger) = (S3Server::start(), Ledger::with_events(1).await);
    let archive = open(&address(&server.url_with_key("x").replace(ACCESS_KEY.1, "canary-other-secret")));
    let mut archiver = archive::Archiver::new(archive, None, 0, 4);
    archiver.add(&ledger.reader().after(0, 1).expect("a page")).expect("it follows");
    let packed = archiver.pack().expect("a segment").expect("an event");
    let error = archiver.put(&packed).await.expect_err("refused").to_string();
    assert!(error.contains("cannot put archive/v1/segments/"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    assert_eq!(fs::read_dir(server.bucket()).expect("the bucket").count(), 0);
}
