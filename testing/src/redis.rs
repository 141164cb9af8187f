//! Redis servers for tests, each of one test alone: on a free port of 127.0.0.1, with its data in a folder of its own. Blocking.

use std::env;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const STARTED_MAX: Duration = Duration::from_secs(30);
const PORTS_TRIED_MAX: usize = 20;
/// The slots of a cluster, which has a second port for each server that is 10,000 higher.
const SLOTS: u32 = 16_384;

/// The fate of the data of a server that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// They are gone.
    Forgets,
    /// All that it has acknowledged is there when it starts again.
    Keeps,
}

/// A server, stopped with this value.
pub struct RedisServer {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// # Panics
    ///
    /// If Redis is not installed: `tests/install redis-server`.
    pub fn start(durability: Durability) -> Self {
        let settings = match durability {
            Durability::Forgets => vec!["--appendonly no"],
            Durability::Keeps => vec!["--appendonly yes", "--appendfsync always"],
        };
        Self::start_with(&settings)
    }

    fn start_with(settings: &[&str]) -> Self {
        let folder = env::temp_dir().join(format!("ledgerway-redis-{:016x}", random()));
        fs::create_dir(&folder).expect("a folder");
        let words = settings.iter().flat_map(|setting| setting.split(' ')).map(str::to_owned).collect();
        let mut server = Self { folder, port: 0, settings: words, process: None };
        for _ in 0..PORTS_TRIED_MAX {
            server.port = u16::try_from(20_000 + random() % 12_000).expect("a port");
            if server.started() {
                return server;
            }
        }
        panic!("Redis does not start: {}", fs::read_to_string(server.folder.join("log")).unwrap_or_default());
    }

    /// # Panics
    ///
    /// If the server still runs, or does not start.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "it still runs");
        assert!(self.started(), "Redis does not start again on its port");
    }

    /// Ends it at once, as SIGKILL does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process that runs");
            process.wait().expect("its end");
        }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the output of `redis-cli` for a command.
    ///
    /// # Panics
    ///
    /// If the command fails.
    pub fn ask(&self, words: &[&str]) -> String {
        let said = self.cli().args(words).output().expect("redis-cli");
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    /// Prints every command that the server gets, until the process is killed.
    ///
    /// # Panics
    ///
    /// If redis-cli is not installed.
    pub fn monitor(&self) -> Child {
        self.cli().arg("MONITOR").stdout(Stdio::piped()).spawn().expect("redis-cli")
    }

    fn cli(&self) -> Command {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        command
    }

    /// True once it answers; false if it has ended, since the port is taken.
    fn started(&mut self) -> bool {
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        command.arg("--dir").arg(&self.folder).args(&self.settings).stdout(log).stdin(Stdio::null());
        let mut process = command.spawn().expect("redis-server, as tests/install redis-server installs it");
        let began = Instant::now();
        while began.elapsed() < STARTED_MAX {
            if process.try_wait().expect("its state").is_some() {
                return false;
            }
            let pong = self.cli().arg("PING").stderr(Stdio::null()).output().expect("redis-cli");
            // Another server could have the port.
            if pong.stdout.starts_with(b"PONG") && self.process_id() == Some(process.id()) {
                self.process = Some(process);
                return true;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = process.kill();
        let _ = process.wait();
        false
    }

    fn process_id(&self) -> Option<u32> {
        let info = self.cli().args(["INFO", "server"]).output().ok()?;
        let info = String::from_utf8_lossy(&info.stdout).into_owned();
        info.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A cluster of three servers without replicas.
pub struct RedisCluster {
    servers: Vec<RedisServer>,
}

impl RedisCluster {
    /// # Panics
    ///
    /// If Redis is not installed, or the cluster does not form.
    pub fn start() -> Self {
        let start = |_| RedisServer::start_with(&["--appendonly no", "--cluster-enabled yes"]);
        let servers: Vec<RedisServer> = (0..3).map(start).collect();
        let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let made =
            Command::new("redis-cli").args(["--cluster", "create"]).args(&addresses).arg("--cluster-yes").output();
        let made = made.expect("redis-cli");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let (cluster, began) = (Self { servers }, Instant::now());
        while !cluster.is_whole() {
            assert!(began.elapsed() < STARTED_MAX, "the cluster does not form");
            thread::sleep(Duration::from_millis(50));
        }
        cluster
    }

    /// The address of the first server, which names the others.
    pub fn url(&self) -> String {
        self.servers[0].url()
    }

    /// The addresses of all servers in one.
    pub fn url_of_all(&self) -> String {
        let others: Vec<String> = self.servers[1..].iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        format!("{},{}", self.servers[0].url(), others.join(","))
    }

    pub fn servers(&self) -> &[RedisServer] {
        &self.servers
    }

    fn is_whole(&self) -> bool {
        self.servers.iter().all(|server| {
            let info = server.ask(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains(&format!("cluster_slots_ok:{SLOTS}"))
        })
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
