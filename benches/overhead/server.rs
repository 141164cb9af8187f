//! The gateway under measurement: the built binary on a free port, with one governed key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::HeaderValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::load::{Target, body, headers};
use crate::upstream::Upstream;

const OPERATOR_KEY: &str = "operator-key-of-the-benchmark-0123456789";
const MODEL: &str = "fast";
const READY: &str = "ledgerway listening on http://";
/// `sysconf(_SC_CLK_TCK)` of every Linux that this runs on: ticks of 10 ms in `/proc/PID/stat`.
const MICROS_PER_TICK: u64 = 10_000;

pub struct Server {
    folder: TempDir,
    process: Child,
    address: SocketAddr,
    secret: String,
}

impl Server {
    pub fn start(upstream: &Upstream) -> Self {
        // Beside the build and not in /tmp, which may lie in memory, where durability costs nothing.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on disk");
        let mut process = Command::new(env!("CARGO_BIN_EXE_ledgerway"))
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
        let address = ready.expect("a ready line");
        let mut server = Self { folder, process, address, secret: String::new() };
        server.secret = server.set_up(upstream);
        server
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn target(&self) -> Target {
        let mut headers = headers();
        let key = HeaderValue::try_from(format!("Bearer {}", self.secret)).expect("a header");
        headers.insert("authorization", key);
        Target { address: self.address, headers, body: body(MODEL) }
    }

    /// CPU of all of its threads, user and kernel.
    pub fn cpu_micros(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).expect("its statistics");
        // The name of the program, in parentheses, may hold anything; the fields after it are numbers.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let ticks = |at: usize| fields.split(' ').nth(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        (ticks(11) + ticks(12)) * MICROS_PER_TICK
    }

    /// A key under four budgets and a rate limit, with much room in all of them.
    fn set_up(&self, upstream: &Upstream) -> String {
        let partner = self.make("/partners", &json!({ "name": "bench" }))["id"].clone();
        let tenant = self.make("/tenants", &json!({ "partner_id": partner, "name": "bench" }))["id"].clone();
        let user = json!({ "tenant_id": tenant, "name": "bench", "email": "bench@example.com" });
        let user = self.make("/users", &user)["id"].clone();
        let key = self.make("/keys", &json!({ "user_id": user, "name": "bench" }));
        let provider = self.make(
            "/providers",
            &json!({ "name": "bench", "kind": "openai", "base_url": format!("http://{}/v1", upstream.address),
                     "api_key": "upstream-key", "allow_private_network": true }),
        )["id"]
            .clone();
        self.make(
            "/prices",
            &json!({ "provider_id": provider, "model": MODEL, "input_usd_per_mtok": "0.1",
                     "output_usd_per_mtok": "0.4" }),
        );
        let target = json!({ "provider_id": provider, "model": MODEL, "priority": 0, "weight": 1,
                             "context_window": 8192, "max_output_tokens": 1024, "default_max_output_tokens": 256 });
        self.make("/models", &json!({ "name": MODEL, "strategy": "priority", "targets": [target] }));
        for scope in [
            json!({ "partner_id": partner }),
            json!({ "tenant_id": tenant }),
            json!({ "user_id": user }),
            json!({ "key_id": key["id"] }),
        ] {
            self.make("/budgets", &json!({ "scope": scope, "limit_usd": "1000000", "period": "month" }));
        }
        self.make("/rate-limits", &json!({ "scope": { "key_id": key["id"] }, "requests_per_minute": 100_000_000 }));
        key["secret"].as_str().expect("a secret").to_owned()
    }

    fn make(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut wire = TcpStream::connect(self.address).expect("a connection");
        write!(
            wire,
            "POST /v1/admin{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             authorization: Bearer {OPERATOR_KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("a request");
        let mut answer = String::new();
        wire.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 201"), "{path}: {answer}");
        serde_json::from_str(body).expect("a resource")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
