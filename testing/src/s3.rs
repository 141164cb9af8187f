//! S3 servers for tests: each has its data in a folder of its own, on a free port of this machine.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::postgres::random_name;

/// The access key of every server.
pub const ACCESS_KEY: (&str, &str) = ("AKIATESTS", "canary-s3-secret-8c1f");
const BUCKET: &str = "ledger-archive";
/// How long a server may take to listen.
const READY_MAX: Duration = Duration::from_secs(60);
/// A port that was free can be taken before the server listens on it.
const TRIES: usize = 20;

/// A server with one bucket. It is stopped with this value.
pub struct S3Server {
    folder: PathBuf,
    port: u16,
    process: Child,
}

impl S3Server {
    /// Blocking. The first start on a machine builds the server.
    ///
    /// # Panics
    ///
    /// If it cannot be built or started.
    pub fn start() -> Self {
        let folder = env::temp_dir().join(format!("ledgerway-s3-{}", random_name()));
        fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a folder");
        for _ in 0..TRIES {
            let port = free_port();
            let mut process = spawn(&folder, port);
            if is_ready(&mut process, port) {
                return Self { folder, port, process };
            }
        }
        panic!("the S3 server does not start: {}", log(&folder));
    }

    /// The address of an archive in the bucket, without an access key.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}", self.port)
    }

    /// The same with the access key in it.
    pub fn url_with_key(&self, prefix: &str) -> String {
        let (id, secret) = ACCESS_KEY;
        self.url(prefix).replace("s3://", &format!("s3://{id}:{secret}@"))
    }

    /// The folder with the objects of the bucket.
    pub fn bucket(&self) -> PathBuf {
        self.folder.join("data").join(BUCKET)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("its end");
    }

    /// Starts it again on the same port, with the same data. Blocking.
    ///
    /// # Panics
    ///
    /// If somebody else took the port.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.folder, self.port);
        assert!(is_ready(&mut self.process, self.port), "{}", log(&self.folder));
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The path of the server's program.
fn program() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/s3");
    let said = Command::new(script).stderr(Stdio::inherit()).output().expect("tests/s3");
    assert!(said.status.success(), "tests/s3: {}", said.status);
    String::from_utf8(said.stdout).expect("a path").trim().to_owned()
}

fn spawn(folder: &Path, port: u16) -> Child {
    let (id, secret) = ACCESS_KEY;
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).expect("a log file");
    Command::new(program())
        .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--access-key", id, "--secret-key", secret])
        .arg(folder.join("data"))
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("the log file"))
        .stderr(log)
        .spawn()
        .expect("the S3 server")
}

fn is_ready(process: &mut Child, port: u16) -> bool {
    let started = Instant::now();
    while started.elapsed() < READY_MAX {
        if process.try_wait().expect("its state").is_some() {
            return false;
        }
        let answers = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        sleep(Duration::from_millis(20));
        // Somebody else may listen there, which ends this process.
        if answers && process.try_wait().expect("its state").is_none() {
            return true;
        }
    }
    false
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
