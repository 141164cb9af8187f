//! A PostgreSQL of one test's own, which can be restarted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

pub struct Server {
    folder: PathBuf,
    url: String,
    _owned: TempDir,
}

impl Server {
    pub fn start() -> Self {
        let owned = tempfile::tempdir().expect("a folder");
        // Its server, which is another user if this is root, has to reach its own folder in there.
        std::fs::set_permissions(owned.path(), PermissionsExt::from_mode(0o711)).expect("its mode");
        let folder = owned.path().join("postgres");
        let url = script(&["start"], &folder).trim().to_owned();
        Self { folder, url, _owned: owned }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// On the same port, and waits until it answers. `immediate` is a crash.
    pub fn restart(&self, mode: &str) {
        script(&["restart", mode], &self.folder);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop"], &self.folder);
    }
}

fn script(arguments: &[&str], folder: &Path) -> String {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres"));
    command.arg(arguments[0]).arg(folder).args(&arguments[1..]).stderr(Stdio::inherit());
    let ended = command.output().expect("tests/postgres starts");
    // While another panic unwinds, a second one would hide it.
    assert!(ended.status.success() || std::thread::panicking(), "tests/postgres {arguments:?}: {}", ended.status);
    String::from_utf8(ended.stdout).expect("text")
}
