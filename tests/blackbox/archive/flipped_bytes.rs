//! One byte that is another one, in a file of each kind that an archive has: `verify --archive` names the file.

use std::fs;

use serde_json::json;

use super::{SMALL, address, run, verified};
use crate::gateway::Gateway;
use crate::shared_ledger::folders;

/// Holds: bin.archive-damage, bin.verify-archive
#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_file_of_an_archive_that_has_another_byte() {
    let [folder] = folders();
    let mut gateway = Gateway::start_in(folder.path(), &SMALL);
    for number in 0..10 {
        gateway.operator().post("/v1/admin/partners", &json!({ "name": format!("partner {number}") })).await.must(201);
    }
    gateway.stop();
    run(0, &["archive", "--data", &gateway.data().display().to_string()]);
    let objects = gateway.data().join("objects");
    let archive = address(&objects);
    assert_eq!(verified(0, &archive, &[])["sound"], true);
    for kind in ["archive/v1/manifests", "archive/v1/segments"] {
        let mut files: Vec<_> =
            fs::read_dir(objects.join(kind)).expect("a folder").map(|entry| entry.expect("a file").path()).collect();
        files.sort();
        assert!(files.len() >= 2, "{files:?}");
        for file in [files.first(), files.last()].into_iter().flatten() {
            let whole = fs::read(file).expect("a file");
            let mut other = whole.clone();
            other[whole.len() / 2] ^= 1;
            fs::write(file, &other).expect("another byte");
            for more in [&["--shallow"][..], &[]] {
                let broken = &verified(1, &archive, more)["broken"];
                let name = file.strip_prefix(&objects).expect("in the archive").display().to_string();
                assert_eq!(broken["object"], name, "{broken}");
            }
            fs::write(file, &whole).expect("as it was");
        }
    }
    assert_eq!(verified(0, &archive, &[])["sound"], true);
}
