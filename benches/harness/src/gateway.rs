//! The gateway under measurement: the built binary as a process that listens on a free port.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::admin::{Admin, OPERATOR_KEY};
use crate::process::Processes;

/// For gateways whose log is in a database, which do not make one.
const NODE_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const READY: &str = "ledgerway listening on http://";
const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(60);

pub struct Gateway {
    binary: PathBuf,
    data: PathBuf,
    process: Child,
    pub address: SocketAddr,
    /// Deletes the data folder at the end; `None` if the folder is kept.
    temporary: Option<TempDir>,
}

impl Gateway {
    /// Starts a gateway on a new data folder within `parent`, which must be on a disk: in memory, as `/tmp` may be,
    /// durability costs nothing.
    pub fn start(binary: &str, parent: &str) -> Self {
        Self::start_with(&[], binary, parent)
    }

    /// Does the same as [`Self::start`], with these settings.
    pub fn start_with(environment: &[(&str, &str)], binary: &str, parent: &str) -> Self {
        Self::start_as(Command::new(binary), environment, binary, parent)
    }

    /// Does the same as [`Self::start_with`], as the last argument of a tool, which writes its files beside the data folder.
    pub fn start_under(tool: &[&str], environment: &[(&str, &str)], binary: &str, parent: &str) -> Self {
        let mut words = tool.iter().copied().chain([binary]);
        let mut command = Command::new(words.next().unwrap_or(binary));
        command.args(words);
        Self::start_as(command, environment, binary, parent)
    }

    fn start_as(mut command: Command, environment: &[(&str, &str)], binary: &str, parent: &str) -> Self {
        let folder = tempfile::tempdir_in(parent).expect("a folder on disk");
        let data = folder.path().join("data");
        command.current_dir(folder.path());
        let mut gateway = Self::spawn(command, binary, &data, environment);
        gateway.temporary = Some(folder);
        gateway
    }

    /// Starts a gateway on an empty database, which it migrates first, with its views in a new folder within `parent`.
    pub fn start_shared(binary: &str, database: &str, parent: &str) -> Self {
        let environment = [("LEDGERWAY_DATABASE_URL", database), ("LEDGERWAY_NODE_KEY", NODE_KEY)];
        let mut migrate = Command::new(binary);
        set_environment(&mut migrate, &environment);
        let migrated = migrate.arg("migrate").stdout(Stdio::null()).status().expect("`migrate` runs");
        assert!(migrated.success(), "the database is not migrated");
        let folder = tempfile::tempdir_in(parent).expect("a folder on disk");
        let data = folder.path().join("data");
        let mut gateway = Self::spawn(Command::new(binary), binary, &data, &environment);
        gateway.temporary = Some(folder);
        gateway
    }

    /// Starts a gateway on a data folder that is kept. A log that was written before the first start needs the same node
    /// key at every start, because a key is made only for a new log.
    pub fn start_on(binary: &str, data: &Path, node_key: &str) -> Self {
        Self::spawn(Command::new(binary), binary, data, &[("LEDGERWAY_NODE_KEY", node_key)])
    }

    fn spawn(mut command: Command, binary: &str, data: &Path, environment: &[(&str, &str)]) -> Self {
        set_environment(&mut command, environment);
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("LEDGERWAY_PROVIDERS_FROM_ENV", "off")
            .env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = lines.find_map(|line| line.ok()?.strip_prefix(READY)?.parse().ok()).expect("a ready line");
        std::thread::spawn(move || lines.for_each(drop));
        Self { binary: binary.into(), data: data.into(), process, address, temporary: None }
    }

    /// Waits until `/health/ready` answers 200.
    pub fn wait_until_ready(&self) {
        let started = Instant::now();
        while self.admin().get("/health/ready").is_err() {
            assert!(started.elapsed() < READY_MAX, "the gateway is not ready within {READY_MAX:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub const fn admin(&self) -> Admin {
        Admin::new(self.address)
    }

    /// The folder of the data folder, where a tool writes its files.
    pub fn folder(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn processes(&self) -> Processes {
        Processes::one(self.process.id())
    }

    /// Drains the gateway, and returns its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status().expect("`kill` runs");
        assert!(signalled.success(), "the gateway is not running");
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status;
            }
            assert!(started.elapsed() < STOP_MAX, "the gateway does not end within {STOP_MAX:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the gateway, which gets no chance to end anything.
    pub fn kill(&mut self) {
        self.process.kill().expect("the gateway is running");
        self.process.wait().expect("its state");
    }

    /// Runs `ledgerway verify` on the data folder: true if it is sound, and the output.
    pub fn verify(&self) -> (bool, String) {
        let ended =
            Command::new(&self.binary).args(["verify", "--data"]).arg(&self.data).output().expect("`verify` runs");
        let text = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&text).trim().to_owned())
    }
}

/// Sets these variables, and no others of the gateway's.
fn set_environment(command: &mut Command, environment: &[(&str, &str)]) {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("LEDGERWAY_")) {
        command.env_remove(name);
    }
    command.envs(environment.iter().copied());
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
