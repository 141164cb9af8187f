//! A disk that is really full, and a folder that is really read-only: a small file system of the test's own. Where it
//! may not be mounted the fault library takes its place.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testing::upstream::MockUpstream;

use super::fault::{ENOSPC, EROFS, Fault};
use super::{ClientRecord, must_be_sound, must_recover};
use crate::gateway::{Gateway, serve_to_its_end};
use crate::tenant::Tenant;

/// Room for a gateway that has done little.
const SIZE: &str = "size=24m";

/// A small file system for a gateway's folder, gone with this.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mounted() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", SIZE, "ledgerway-test"]).arg(folder.path()).output();
        done.is_ok_and(|done| done.status.success()).then_some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Until not a byte more fits.
    fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file");
        for size in [1 << 16, 1 << 10, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("the file");
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).output();
        let done = done.expect("mount");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a gateway that a failed test left may still be in it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

/// Asks until the disk has no more room for the log.
async fn must_fill_up(tenant: &Tenant, record: &ClientRecord) {
    let began = Instant::now();
    let before = record.refused().len();
    while record.refused().len() == before {
        assert!(began.elapsed() < Duration::from_secs(10), "a full disk, and all is answered");
        record.ask(tenant, "ok", 4).await;
    }
}

/// The gateway's log output goes to the same disk, and finds no room either.
/// Holds: event.fail-closed
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_closes_the_gateway_until_there_is_room() {
    let (disk, fault, upstream) = (SmallDisk::mounted(), Fault::new(), MockUpstream::start().await);
    let mut gateway = match &disk {
        Some(disk) => Gateway::start_in(disk.path(), &[]),
        None => {
            fault.aim_at("/gateway/");
            fault.start(&[])
        }
    };
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    let record = ClientRecord::default();
    record.ask(&tenant, "ok", 6).await;
    for _ in 0..2 {
        match &disk {
            Some(disk) => disk.fill(),
            None => fault.fail_writes(ENOSPC),
        }
        must_fill_up(&tenant, &record).await;
        let (sent, answered) = (upstream.seen().len(), record.answered().len());
        record.ask(&tenant, "ok", 6).await;
        assert_eq!((upstream.seen().len(), record.answered().len()), (sent, answered), "sent without the ledger");
        gateway.client(None).get("/health/ready").await.must(503);
        match &disk {
            Some(disk) => disk.empty(),
            None => fault.heal(),
        }
        must_recover(&tenant, "ok", &record).await;
        record.ask(&tenant, "ok", 20).await;
    }
    must_be_sound(&mut gateway, &upstream, &tenant, &record).await;
}

/// Holds: bin.verify-reads
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_is_verified_and_not_served() {
    let (disk, fault, upstream) = (SmallDisk::mounted(), Fault::new(), MockUpstream::start().await);
    let mut gateway = match &disk {
        Some(disk) => Gateway::start_in(disk.path(), &[]),
        None => fault.start(&[]),
    };
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    gateway.stop();
    match &disk {
        Some(disk) => disk.remount("ro"),
        None => fault.fail_writes(EROFS),
    }
    let (code, said) = serve_to_its_end(&gateway.data(), gateway.env());
    assert!(code == Some(1) || code == Some(2), "{code:?}: {said}");
    assert!(said.starts_with("ledgerway: ") && said.contains("data") && said.contains("Read-only"), "{said}");
    assert!(said.trim().lines().count() == 1, "more than a sentence: {said}");
    let (code, said) = gateway.verify();
    assert_eq!(code, Some(0), "{said}");
    match &disk {
        Some(disk) => disk.remount("rw"),
        None => fault.heal(),
    }
    gateway.start_again();
    tenant.chat("ok").await.must(200);
}

/// Holds: query.as-of
#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_earlier_views_there_are_none_and_the_gateway_serves_on() {
    let (disk, fault, upstream) = (SmallDisk::mounted(), Fault::new(), MockUpstream::start().await);
    let gateway = match &disk {
        Some(disk) => Gateway::start_in(disk.path(), &[]),
        None => {
            fault.aim_at("/as-of/");
            fault.start(&[])
        }
    };
    let tenant = Tenant::new(&gateway, &upstream, &["ok"]).await;
    tenant.chat("ok").await.must(200);
    let path = format!("/v1/usage?as_of={}", gateway.head().await);
    if disk.is_none() {
        fault.fail_writes(ENOSPC);
    }
    for _ in 0..3 {
        let refused = gateway.operator().get(&path).await.must_be(503, "VIEW_BEHIND");
        assert!(!refused.header("retry-after").is_empty(), "it does not say when to come back");
        let said = refused.json()["error"]["message"].to_string();
        let expected = if disk.is_some() { "too little room is left on the disk" } else { "cannot be built now" };
        assert!(said.contains(expected), "{said}");
        let files = std::fs::read_dir(gateway.data().join("as-of")).expect("the folder").count();
        assert_eq!(files, 0, "files that are of no use");
        tenant.chat("ok").await.must(200);
        gateway.operator().get("/v1/usage").await.must(200);
    }
    match &disk {
        Some(disk) => disk.remount("size=3g"),
        None => fault.heal(),
    }
    gateway.operator().get(&path).await.must(200);
}
