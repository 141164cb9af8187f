//! Files that the gateway writes: only their owner may read them, whatever the folder and the umask allow.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::gateway::{Gateway, SHELL_FIRST, ledgerway_after};

/// More than any shell's own: what is created with the usual modes is for all to read and to write.
const NO_UMASK: &str = "umask 000";

/// Every file of a folder must be its owner's alone; their names, in order.
fn must_be_private(folder: &Path, when: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A process at work may have deleted it since.
        let Ok(found) = entry.metadata() else { continue };
        let mode = found.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} is {mode:o} {when}");
        names.push(name);
    }
    names.sort();
    names
}

fn run(arguments: &[&str], data: &Path) {
    let ended = ledgerway_after(NO_UMASK).args(arguments).arg("--data").arg(data).output().expect("it starts");
    let words = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {words}");
}

/// A folder that all may look into, with a gateway in it that makes all the keys that it can.
fn start_in_open_folder(folder: &Path) -> Gateway {
    let data = folder.join("data");
    fs::create_dir(&data).expect("a folder");
    fs::set_permissions(&data, Permissions::from_mode(0o755)).expect("its mode");
    let env = [(SHELL_FIRST, NO_UMASK), ("LEDGERWAY_DEV", "true"), ("LEDGERWAY_ADMIN_KEY", "")];
    Gateway::start_in(folder, &env)
}

/// Holds: bin.private-files
#[tokio::test(flavor = "multi_thread")]
async fn whatever_it_writes_only_its_owner_may_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = start_in_open_folder(folder.path());
    let data = gateway.data();
    let key = fs::read_to_string(data.join("admin.key")).expect("the operator's key").trim().to_owned();
    gateway.client(Some(&key)).get("/v1/usage?min_position=1").await.must(200);
    let served = must_be_private(&data, "while it is served");
    for file in ["ledger.db-wal", "ledger.db-shm", "views.db-wal", "views.db-shm", "node.key", "admin.key", "dev.key"] {
        assert!(served.contains(&file.to_owned()), "{file} is not in {served:?}");
    }
    for command in ["verify", "rebuild", "status"] {
        run(&[command], &data);
        must_be_private(&data, &format!("after {command} beside a gateway"));
    }
    gateway.kill();
    must_be_private(&data, "after a kill");
    // Each finds the folder as the one before it left it.
    for command in ["verify", "rebuild", "status", "migrate", "verify"] {
        run(&[command], &data);
        must_be_private(&data, &format!("after {command}"));
    }
    gateway.start_again();
    gateway.stop();
    must_be_private(&data, "after a stop");

    let fresh = folder.path().join("fresh/data");
    run(&["migrate"], &fresh);
    must_be_private(&fresh, "after migrate");
    for made in [&fresh, fresh.parent().expect("its folder")] {
        assert_eq!(fs::metadata(made).expect("a folder").permissions().mode() & 0o777, 0o700, "{}", made.display());
    }
}

/// Holds: bin.private-files
#[tokio::test(flavor = "multi_thread")]
async fn files_of_older_versions_are_closed_to_others_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut gateway = start_in_open_folder(folder.path());
    let data = gateway.data();
    let open_all = || {
        for entry in fs::read_dir(&data).expect("the folder").flatten() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o644)).expect("its mode");
        }
    };
    // With what a dead process leaves beside the databases.
    gateway.kill();
    open_all();
    gateway.start_again();
    must_be_private(&data, "after a start");
    gateway.stop();
    // Each closes what it writes.
    for (command, written) in [("migrate", "ledger.db"), ("rebuild", "views.db")] {
        open_all();
        run(&[command], &data);
        for file in [written, "ledgerway.lock"] {
            let mode = fs::metadata(data.join(file)).expect("a file").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file} is {mode:o} after {command}");
        }
    }
}
