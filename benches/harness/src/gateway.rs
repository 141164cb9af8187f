//! The gateway under measurement: the built binary on a free port, with a data folder of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::admin::{Admin, OPERATOR_KEY};
use crate::process::Processes;

const READY: &str = "ledgerway listening on http://";
const STOP_MAX: Duration = Duration::from_secs(60);

pub struct Gateway {
    binary: PathBuf,
    folder: TempDir,
    process: Child,
    pub address: SocketAddr,
}

impl Gateway {
    /// `beside`: a folder on a disk. In memory, as `/tmp` may be, durability costs nothing.
    pub fn start(binary: &str, beside: &str) -> Self {
        let folder = tempfile::tempdir_in(beside).expect("a folder on disk");
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LEDGERWAY_")) {
            command.env_remove(name);
        }
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let ready = lines.find_map(|line| line.ok()?.strip_prefix(READY)?.parse().ok());
        std::thread::spawn(move || lines.for_each(drop));
        Self { binary: binary.into(), folder, process, address: ready.expect("a ready line") }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub const fn admin(&self) -> Admin {
        Admin::new(self.address)
    }

    pub fn processes(&self) -> Processes {
        Processes::one(self.process.id())
    }

    /// Drains and ends.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().expect("a signal");
        assert!(told.success(), "the gateway has gone");
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status;
            }
            assert!(started.elapsed() < STOP_MAX, "the gateway does not end within {STOP_MAX:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `ledgerway verify` says of the folder: whether it is sound, and its words.
    pub fn verify(&self) -> (bool, String) {
        let ended = Command::new(&self.binary).args(["verify", "--data"]).arg(self.data()).output().expect("a verdict");
        let words = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&words).trim().to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
