//! NATS servers with JetStream, one for each test that needs one.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Debian installs it where only root's PATH has it.
const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];
/// Below the ports from which the system takes those of clients, so that a server that is started again gets its port back.
const FIRST_PORT: u64 = 10_000;
const PORTS: u64 = 10_000;
const ATTEMPTS_MAX: u32 = 50;
const READY_MAX: Duration = Duration::from_secs(20);

/// A server on a port of this machine, with its messages in a folder of its own. It ends with this value.
pub struct NatsServer {
    folder: PathBuf,
    name: String,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl NatsServer {
    /// True if NATS is installed. Blocking.
    pub fn is_installed() -> bool {
        let has = |program: &&str| {
            let mut version = Command::new(program);
            version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            version.status().is_ok_and(|status| status.success())
        };
        PROGRAMS.iter().any(has)
    }

    /// Blocking.
    ///
    /// # Panics
    ///
    /// If NATS is not installed.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With lines of its configuration, such as `max_payload: 4096`. Blocking.
    ///
    /// # Panics
    ///
    /// If NATS is not installed, or does not know a setting.
    pub fn start_with(settings: &[&str]) -> Self {
        let name = format!("test_{:016x}", random());
        let folder = std::env::temp_dir().join(format!("ledgerway-nats-{name}"));
        fs::create_dir(&folder).expect("a folder");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = Self { folder, name, port: 0, settings, process: None };
        for _ in 0..ATTEMPTS_MAX {
            server.port = u16::try_from(FIRST_PORT + random() % PORTS).expect("a port");
            if server.try_start() {
                return server;
            }
        }
        panic!("nats-server does not start: {}", server.log());
    }

    /// `nats://…`, without credentials.
    pub fn url(&self) -> String {
        format!("nats://{}", self.socket())
    }

    /// The address of the server, for a proxy.
    pub fn socket(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its process.
    ///
    /// # Panics
    ///
    /// If it was killed.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("a server that runs").id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process to kill");
            process.wait().expect("its end");
        }
    }

    /// Starts it again on the same port, with the same messages. Blocking.
    pub fn start_again(&mut self) {
        self.kill();
        assert!(self.try_start(), "nats-server does not start again: {}", self.log());
    }

    /// Changes its settings when it is started again.
    pub fn set(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    }

    /// The log of the server so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The folder of its messages.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// Whether it runs and answers. A port that is taken ends it.
    fn try_start(&mut self) -> bool {
        let config = self.folder.join("nats.conf");
        let (name, port, store) = (&self.name, self.port, self.store());
        let mut lines = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?}, max_file_store: 4GB }}\n"
        );
        lines.extend(self.settings.iter().map(|setting| format!("{setting}\n")));
        fs::write(&config, lines).expect("its configuration");
        self.process = Some(self.spawn(&config));
        let began = Instant::now();
        while began.elapsed() < READY_MAX {
            if self.answers() {
                return true;
            }
            let process = self.process.as_mut().expect("a process");
            if process.try_wait().expect("its state").is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.kill();
        false
    }

    fn spawn(&self, config: &Path) -> Child {
        let log = || File::options().create(true).append(true).open(self.folder.join("log")).expect("its log");
        for program in PROGRAMS {
            let mut command = Command::new(program);
            command.arg("-c").arg(config).stdin(Stdio::null()).stdout(log()).stderr(log());
            match command.spawn() {
                Ok(process) => return process,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => panic!("{program}: {error}"),
            }
        }
        panic!("this test needs NATS: tests/install nats-server");
    }

    /// True if it is this server that answers, and not another one on its port.
    fn answers(&self) -> bool {
        let Ok(connection) = TcpStream::connect_timeout(&self.socket(), Duration::from_secs(1)) else { return false };
        let mut greeting = String::new();
        connection.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && BufReader::new(connection).read_line(&mut greeting).is_ok()
            && greeting.contains(&self.name)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
        // It is left over if this fails.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
