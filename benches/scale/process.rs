//! The built binary on a data folder.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

pub const OPERATOR_KEY: &str = "operator-key-of-the-benchmark-0123456789";
/// The same at every start: the folder's log begins before its first start, when no key can be made any more.
const NODE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const READY: &str = "ledgerway listening on http://";
const LOOK_EVERY: Duration = Duration::from_millis(1);
const READY_MAX: Duration = Duration::from_secs(60);

pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// From its start to the line that says where it listens.
    pub listening_after: Duration,
    /// From its start to the first 200 of `/health/ready`.
    pub ready_after: Duration,
}

impl Process {
    pub fn start(data: &Path) -> io::Result<Self> {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ledgerway"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)
            .env("LEDGERWAY_NODE_KEY", NODE_KEY)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = lines.find_map(|line| line.ok()?.strip_prefix(READY)?.parse().ok()).expect("a ready line");
        let listening_after = began.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        let mut process = Self { child, address, listening_after, ready_after: Duration::ZERO };
        while process.client(OPERATOR_KEY)?.get("/health/ready")?.status != 200 {
            assert!(began.elapsed() < READY_MAX, "it does not get ready");
            std::thread::sleep(LOOK_EVERY);
        }
        process.ready_after = began.elapsed();
        Ok(process)
    }

    pub fn client(&self, key: &str) -> io::Result<Client> {
        Client::connect(self.address, key)
    }

    /// Resident memory.
    pub fn memory_mib(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|kib| kib.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.expect("a size in KiB") / 1024)
    }
}

impl Drop for Process {
    /// As a crash would end it: a start has to cope with what that leaves.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
