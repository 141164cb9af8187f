//! The built binary, started on a free port with a data folder of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testing::wire::Wire;

use crate::books::Books;
use crate::client::{Client, PositionStatus, Reply};

pub const BINARY: &str = env!("CARGO_BIN_EXE_ledgerway");
pub const OPERATOR_KEY: &str = "operator-key-of-the-tests-0123456789abcdef";
const READY_MAX: Duration = Duration::from_secs(30);
/// No variable of the gateway: what a shell does before it becomes the gateway's process.
pub const SHELL_FIRST: &str = "TEST_SHELL_FIRST";
/// Off in tests that do not set it: what it records comes a while after what a test reads.
const OFF_UNLESS_SET: (&str, &str) = ("LEDGERWAY_RECORD_READS", "false");
/// Starts the gateway with this setting, too, as it is by default.
const PLAIN: (&str, &str) = ("TEST_PLAIN", "true");
const READY_LINE: &str = "ledgerway listening on http://127.0.0.1:";

pub struct Gateway {
    folder: PathBuf,
    /// Goes with the gateway, unless the folder is somebody else's.
    _owned: Option<TempDir>,
    env: Vec<(&'static str, String)>,
    process: Child,
    port: Arc<AtomicU16>,
    stdout: Arc<Mutex<String>>,
    heard: PositionStatus,
    operator: Client,
    names: AtomicU64,
}

impl Gateway {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these environment variables besides the operator's key.
    pub fn start_with(env: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut gateway = Self::start_in(folder.path(), env);
        gateway._owned = Some(folder);
        gateway
    }

    /// With all settings at their defaults, and with these.
    pub fn start_plain(env: &[(&'static str, &str)]) -> Self {
        Self::start_with(&[&[PLAIN][..], env].concat())
    }

    /// In a process that may have so many files open, and not one more.
    pub fn start_with_file_limit(files: u64) -> Self {
        Self::start_with(&[(SHELL_FIRST, &format!("ulimit -n {files}"))])
    }

    /// In a folder that outlives it: its data are in `data` there.
    pub fn start_in(folder: &Path, env: &[(&'static str, &str)]) -> Self {
        let env: Vec<_> = env.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let (port, stdout) = (Arc::new(AtomicU16::new(0)), Arc::<Mutex<String>>::default());
        let process = spawn(folder, &env, &port, &stdout);
        let heard = PositionStatus::default();
        let operator = Client::new(Arc::clone(&port), heard.clone(), Some(OPERATOR_KEY));
        let folder = folder.to_owned();
        Self { folder, _owned: None, env, process, port, stdout, heard, operator, names: AtomicU64::new(1) }
    }

    /// Starts it again on the same data.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.folder, &self.env, &self.port, &self.stdout);
    }

    pub fn data(&self) -> PathBuf {
        data_of(&self.folder)
    }

    /// Returns the variables it was started with besides the operator's key.
    pub fn env(&self) -> &[(&'static str, String)] {
        &self.env
    }

    /// Returns the positions in its clients' answers.
    pub fn heard(&self) -> &PositionStatus {
        &self.heard
    }

    pub fn operator(&self) -> &Client {
        &self.operator
    }

    pub fn client(&self, key: Option<&str>) -> Client {
        Client::new(Arc::clone(&self.port), self.heard.clone(), key)
    }

    /// A client without a key, on another port of the same process.
    pub fn client_on(&self, port: u16) -> Client {
        Client::new(Arc::new(AtomicU16::new(port)), self.heard.clone(), None)
    }

    pub fn port(&self) -> u16 {
        self.port.load(Ordering::SeqCst)
    }

    /// A connection to say anything on.
    pub async fn wire(&self) -> Wire {
        Wire::open((Ipv4Addr::LOCALHOST, self.port()).into()).await.expect("a connection")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The memory that its process has.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most memory that its process ever had.
    pub fn peak_resident_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("its state");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    pub fn next_name(&self) -> String {
        format!("t{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("the output").clone()
    }

    pub fn stderr(&self) -> String {
        std::fs::read_to_string(stderr_of(&self.folder)).expect("the log of the process")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill().expect("a process to kill");
        self.process.wait().expect("its end");
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        signal(self.process.id(), "TERM");
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        signal(self.process.id(), "HUP");
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("its state").is_none()
    }

    #[track_caller]
    pub fn wait_for_end(&mut self, max: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("its state") {
                return status;
            }
            assert!(started.elapsed() < max, "still running after {max:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM and exit 0.
    pub fn stop(&mut self) {
        self.terminate();
        let status = self.wait_for_end(Duration::from_secs(40));
        assert_eq!(status.code(), Some(0), "{}", self.stderr());
    }

    /// Returns the exit code and the words of `ledgerway verify` on the data of a gateway that has ended.
    pub fn verify(&self) -> (Option<i32>, String) {
        let ended = ledgerway().args(["verify", "--data"]).arg(self.data()).output().expect("the binary starts");
        (ended.status.code(), String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned())
    }

    /// The whole log.
    pub async fn events(&self) -> Vec<Value> {
        self.events_after(0).await
    }

    async fn events_after(&self, mut after: u64) -> Vec<Value> {
        let mut log = Vec::new();
        loop {
            let page = self.operator.get(&format!("/v1/events?limit=1000&after={after}")).await.must(200);
            let mut events = events_of_page(&page);
            let Some(last) = events.last() else { return log };
            after = last["position"].as_u64().expect("a position");
            log.append(&mut events);
        }
    }

    /// The events of these types, which commas separate.
    pub async fn events_of(&self, types: &str) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), "0".to_owned());
        while !after.is_empty() {
            let path = format!("/v1/events?limit=1000&types={types}&after={after}");
            let page = self.operator.get(&path).await.must(200);
            found.append(&mut events_of_page(&page));
            page.header("x-ledgerway-next-cursor").clone_into(&mut after);
        }
        found
    }

    /// The log without what says who has looked, which comes by itself once somebody has, and at the end of the minute; and
    /// without changes that a rule refused.
    pub async fn facts(&self) -> Vec<Value> {
        let mut log = self.events().await;
        log.retain(|event| !matches!(type_of(event), "access.read.v1" | "admin.rejected.v1"));
        log
    }

    /// The position of the newest of these.
    pub async fn last_fact(&self) -> u64 {
        self.facts().await.last().map_or(0, |event| event["position"].as_u64().expect("a position"))
    }

    /// The events of one request, in order.
    pub async fn life(&self, request_id: &str) -> Vec<Value> {
        let mut events = self.events().await;
        events.retain(|event| event["request_id"] == request_id);
        events
    }

    pub async fn types_of(&self, request_id: &str) -> Vec<String> {
        self.life(request_id).await.iter().map(|event| type_of(event).to_owned()).collect()
    }

    /// Folds the whole log; panics at the first promise that it breaks.
    pub async fn books(&self) -> Books {
        Books::of(&self.events().await)
    }

    /// Waits until no hold is open, and folds the log.
    pub async fn books_when_all_ended(&self, max: Duration) -> Books {
        let (started, mut books) = (Instant::now(), Books::default());
        loop {
            self.events_after(books.position()).await.iter().for_each(|event| books.take(event));
            books.check_the_end();
            if books.open_holds().is_empty() {
                return books;
            }
            assert!(started.elapsed() < max, "open after {max:?}: {:?}", books.open_holds());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub async fn head(&self) -> u64 {
        self.operator.get("/v1/log/head").await.must(200).json()["position"].as_u64().expect("a position")
    }

    /// The budget's view, not older than the log is now.
    pub async fn budget(&self, id: &str) -> Value {
        let head = self.head().await;
        self.operator.get(&format!("/v1/budgets/{id}?min_position={head}")).await.must(200).json()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let stderr = std::fs::read_to_string(stderr_of(&self.folder)).unwrap_or_default();
            let last: Vec<&str> = stderr.lines().rev().take(15).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("the gateway's last words:\n{}\n", last.join("\n")).as_bytes(),
            );
        }
    }
}

fn events_of_page(page: &Reply) -> Vec<Value> {
    let lines = page.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("an event a line")).collect()
}

pub fn type_of(event: &Value) -> &str {
    event["type"].as_str().unwrap_or_default()
}

fn data_of(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn stderr_of(folder: &Path) -> PathBuf {
    folder.join("stderr")
}

/// `ledgerway serve` on data that it is expected not to serve: its exit code, `None` where it served them all the same,
/// and its last words.
pub fn serve_to_its_end(data: &Path, env: &[(&'static str, String)]) -> (Option<i32>, String) {
    // A node that cannot use Redis, or has none, looks for up to twelve seconds what others do.
    const END_MAX: Duration = Duration::from_secs(30);
    let mut process = serve_command(data, env).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let started = Instant::now();
    while process.try_wait().expect("its state").is_none() {
        if started.elapsed() > END_MAX {
            process.kill().expect("a process to kill");
            return (None, "it serves".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = process.wait_with_output().expect("its output");
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

/// `ledgerway serve` that gets SIGTERM as soon as its log has this: its exit code, and how long it took to end.
pub fn serve_until_it_says(said: &str, data: &Path, env: &[(&'static str, String)]) -> (Option<i32>, Duration) {
    let mut process = serve_command(data, env).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(process.stderr.take().expect("its log")).lines();
    assert!(log.any(|line| line.expect("a line").contains(said)), "it never says {said:?}");
    signal(process.id(), "TERM");
    let started = Instant::now();
    log.for_each(drop);
    (process.wait().expect("its end").code(), started.elapsed())
}

fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
    assert!(status.success(), "{kill}");
}

/// The binary without what the surroundings say to gateways.
pub fn ledgerway() -> Command {
    without_settings(Command::new(BINARY))
}

/// The same in a shell that does something first.
pub fn ledgerway_after(first: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), BINARY]);
    without_settings(shell)
}

/// A command that starts the binary, without what the surroundings say to gateways, and without the providers that they name.
pub fn without_settings(mut command: Command) -> Command {
    let beginnings = ["LEDGERWAY_", "OTEL_", "AWS_", "AZURE_OPENAI_", "OLLAMA_", "OPENAI_"];
    let ends = ["_API_KEY", "_BASE_URL"];
    let is_setting = |name: &str| {
        beginnings.iter().any(|beginning| name.starts_with(beginning))
            || ends.iter().any(|end| name.ends_with(end))
            || ["RUST_LOG", "HF_TOKEN"].contains(&name)
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_setting)) {
        command.env_remove(name);
    }
    // This machine may have an Ollama.
    command.env("LEDGERWAY_PROVIDERS_FROM_ENV", "off");
    command
}

fn serve_command(data: &Path, env: &[(&'static str, String)]) -> Command {
    let first = env.iter().find(|(name, _)| *name == SHELL_FIRST);
    let mut command = first.map_or_else(ledgerway, |(_, first)| ledgerway_after(first));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env("LEDGERWAY_ADMIN_KEY", OPERATOR_KEY)
        .env("RUST_BACKTRACE", "0")
        .envs([OFF_UNLESS_SET].into_iter().filter(|_| !env.iter().any(|(name, _)| *name == PLAIN.0)))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    // An empty one asks for a key of the gateway's own making.
    if env.iter().any(|(name, value)| *name == "LEDGERWAY_ADMIN_KEY" && value.is_empty()) {
        command.env_remove("LEDGERWAY_ADMIN_KEY");
    }
    command
}

fn spawn(folder: &Path, env: &[(&'static str, String)], port: &Arc<AtomicU16>, stdout: &Arc<Mutex<String>>) -> Child {
    let stderr = File::options().create(true).append(true).open(stderr_of(folder)).expect("a log file");
    let mut process =
        serve_command(&data_of(folder), env).stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary starts");
    let output = BufReader::new(process.stdout.take().expect("its output"));
    let (ready, is_ready) = mpsc::channel();
    let stdout = Arc::clone(stdout);
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if let Some(found) = line.strip_prefix(READY_LINE).and_then(|port| port.parse::<u16>().ok()) {
                // A gateway that nobody waits for any more is a failed test.
                let _ = ready.send(found);
            }
            let mut all = stdout.lock().expect("the output");
            all.push_str(&line);
            all.push('\n');
        }
    });
    match is_ready.recv_timeout(READY_MAX) {
        Ok(found) => port.store(found, Ordering::SeqCst),
        Err(_) => {
            let _ = process.kill();
            let _ = process.wait();
            let stderr = std::fs::read_to_string(stderr_of(folder)).unwrap_or_default();
            panic!("no ready line within {READY_MAX:?}; its log: {stderr}");
        }
    }
    process
}
