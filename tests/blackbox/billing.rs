//! The consumer of docs/billing.md that is written in Rust, killed at any time, as the gateway and NATS are, and two at once: what they
//! have counted is what was charged. tests/clients/billing.py does the same with the one in Python.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, Stream};
use futures_util::TryStreamExt;
use rusqlite::Connection;
use serde_json::{Value, json};
use testing::nats::NatsServer;
use testing::random::SplitMix64;
use testing::upstream::MockUpstream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::books::nano;
use crate::client::{Client, Lost};
use crate::gateway::{BINARY, Gateway, type_of};
use crate::tenant::{NATIVE, Setup, Tenant};

#[path = "../../docs/examples/billing/consumer.rs"]
#[expect(dead_code, reason = "it runs as a process of its own; only what it makes of messages is called")]
mod consumer;

const ROUNDS: u64 = 16;
const WORKERS: usize = 4;
const HOLD_TTL: Duration = Duration::from_secs(3);
const LOCKED: Duration = Duration::from_millis(300);
/// How long two count together.
const TOGETHER: Duration = Duration::from_secs(4);
/// How long it may take until it counts something.
const COUNTS_MAX: Duration = Duration::from_secs(5);
const COUNTED_MAX: Duration = Duration::from_secs(90);
const BEFORE: &str = "2026-11-20T08:15:30.123456Z";
const AFTER: &str = "2026-11-21T10:00:00.000001Z";

/// Holds: nats.billing, nats.copy
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_killed_at_any_time_has_counted_exactly_what_was_charged() {
    let mut nats = NatsServer::start();
    let mut gateway =
        Gateway::start_with(&[("LEDGERWAY_NATS_URL", nats.url().as_str()), ("LEDGERWAY_HOLD_TTL_SECONDS", "3")]);
    let upstream = MockUpstream::start().await;
    let tenants = [new_tenant(&gateway, &upstream).await, new_tenant(&gateway, &upstream).await];
    let mut consumer = Consumer::new(&nats.url());
    let mut random = SplitMix64::new(16);
    let mut loads = JoinSet::new();
    for round in 0..ROUNDS {
        for (app, body) in tenants.iter().map(|tenant| (tenant.app.clone(), tenant.ask("ok"))) {
            loads.spawn(load(app, body));
        }
        consumer.start_counting().await;
        sleep(Duration::from_millis(random.next_u64() % 200)).await;
        if round % 2 == 1 {
            consumer.kill_before_commit().await;
        } else {
            consumer.kill();
        }
        match round % 8 {
            3 => {
                gateway.kill();
                gateway.start_again();
            }
            6 => {
                nats.kill();
                sleep(Duration::from_millis(random.next_u64() % 300)).await;
                nats.start_again();
            }
            _ => {}
        }
    }
    for (app, body) in tenants.iter().map(|tenant| (tenant.app.clone(), tenant.ask("ok"))) {
        loads.spawn(load(app, body));
    }
    let mut second = consumer.of_the_same_database();
    consumer.start();
    second.start();
    sleep(TOGETHER).await;
    consumer.kill();
    second.kill();
    loads.join_all().await;
    let books = gateway.books_when_all_ended(HOLD_TTL + Duration::from_secs(12)).await;
    assert!(books.admitted().len() > 100, "{}", books.admitted().len());
    let log = gateway.events().await;
    consumer.wait_for(log.len() as u64).await;
    consumer.kill();
    assert_eq!(consumer.counted(), charged(&log));
    gateway.stop();
}

/// Holds: nats.billing
#[tokio::test]
async fn a_consumer_ends_at_a_message_that_is_missing_and_says_which() {
    let nats = NatsServer::start();
    let stream = stream_with(&nats, 20).await;
    stream.delete_message(7).await.expect("deleted");
    let mut consumer = Consumer::new(&nats.url());
    consumer.start();
    assert_eq!(consumer.missing().await, 7);
    assert_eq!(consumer.counted(), BTreeMap::from([("-".to_owned(), 6)]));
}

/// Holds: nats.billing
#[tokio::test]
async fn a_consumer_notices_that_messages_are_removed_while_it_runs() {
    let nats = NatsServer::start();
    let stream = stream_with(&nats, 10).await;
    let mut consumer = Consumer::new(&nats.url());
    consumer.start_counting().await;
    // It cannot write what it gets now, so it does not ask for more, and the rest is removed before.
    let database = consumer.database();
    database.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    publish(&nats, 290).await;
    stream.purge().sequence(251).await.expect("purged");
    database.execute_batch("ROLLBACK").expect("its end");
    let missing = consumer.missing().await;
    assert_eq!(consumer.position(), Some(missing - 1));
    // Nothing at all, if it had got nothing yet when they were removed.
    let counted: i64 = consumer.counted().values().sum();
    assert_eq!(counted, i64::try_from(missing).expect("a position") - 1);
}

/// Holds: nats.billing
#[tokio::test]
async fn a_consumer_counts_nothing_of_a_log_that_was_restored_to_an_earlier_position() {
    let nats = NatsServer::start();
    let stream = stream_with(&nats, 10).await;
    let mut consumer = Consumer::new(&nats.url());
    consumer.start();
    consumer.wait_for(10).await;
    // It runs on, and then it is started again.
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.expect("a connection"));
    jetstream.delete_stream(&stream.cached_info().config.name).await.expect("deleted");
    stream_with(&nats, 6).await;
    // Where the new stream ends, or that NATS has ended its consumer: while it asked for messages, or before it did.
    let said = consumer.last_words().await;
    let ends =
        ["ends at message 6, before 10", "error while processing messages from the stream: ", "Error { kind: NotFound"];
    assert!(ends.iter().any(|words| said.contains(words)), "{said}");
    consumer.start();
    let said = consumer.last_words().await;
    assert!(said.contains("ends at message 6, before 10"), "{said}");
    for _ in 0..2 {
        publish_recorded(&nats, 4, AFTER).await;
        consumer.start();
        let said = consumer.last_words().await;
        assert!(said.contains("message 10 is not the one that was counted: the log was restored"), "{said}");
    }
    assert_eq!((consumer.position(), consumer.counted()), (Some(10), BTreeMap::from([("-".to_owned(), 10)])));
}

/// Holds: nats.billing
#[tokio::test]
async fn a_message_that_comes_again_with_other_content_is_of_another_log_and_nothing_after_it_counts() {
    let nats = NatsServer::start();
    let mut database = Connection::open_in_memory().expect("a database");
    database.execute_batch(consumer::TABLES).expect("its tables");
    let counted = |database: &Connection| -> (u64, i64) {
        let row = database
            .query_row("SELECT position, nano_usd FROM progress, charged", [], |row| Ok((row.get(0)?, row.get(1)?)));
        row.expect("what is counted")
    };
    let stream = stream_with(&nats, 2).await;
    let messages = delivered(&stream, 2).await;
    for _ in 0..2 {
        consumer::count(&mut database, &messages).expect("they are counted once");
        assert_eq!(counted(&database), (2, 2));
    }
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.expect("a connection"));
    jetstream.delete_stream(&stream.cached_info().config.name).await.expect("deleted");
    let stream = stream_with(&nats, 0).await;
    publish_recorded(&nats, 3, AFTER).await;
    let error = consumer::count(&mut database, &delivered(&stream, 3).await).err().expect("the second is another one");
    assert!(error.to_string().contains("message 2 is not the one that was counted: the log was restored"), "{error}");
    assert_eq!(counted(&database), (2, 2));
}

/// All messages of a stream, as a consumer gets them.
async fn delivered(stream: &Stream, messages: usize) -> Vec<jetstream::Message> {
    let consumer = stream.create_consumer(pull::Config::default()).await.expect("a consumer");
    let delivered = consumer.fetch().max_messages(messages).messages().await.expect("messages");
    delivered.try_collect().await.expect("messages")
}

/// Holds: nats.billing
#[tokio::test]
async fn a_consumer_with_an_empty_database_says_that_nats_delivers_nothing_that_was_acknowledged() {
    let nats = NatsServer::start();
    let stream = stream_with(&nats, 10).await;
    let mut consumer = Consumer::new(&nats.url());
    consumer.start();
    consumer.wait_for(10).await;
    wait_until_acknowledged(&stream, 10).await;
    consumer.kill();
    let mut consumer = Consumer::new(&nats.url());
    consumer.start();
    let said = consumer.last_words().await;
    assert!(said.contains("nothing before message 11"), "{said}");
    stream.delete_consumer("billing-rust").await.expect("deleted");
    consumer.start();
    consumer.wait_for(10).await;
    assert_eq!(consumer.counted(), BTreeMap::from([("-".to_owned(), 10)]));
}

/// Holds: nats.billing
#[tokio::test]
async fn of_two_consumers_with_one_name_and_two_databases_each_notices_what_the_other_has_taken() {
    let nats = NatsServer::start();
    let stream = stream_with(&nats, 10).await;
    let mut consumer = Consumer::new(&nats.url());
    consumer.start();
    consumer.wait_for(10).await;
    wait_until_acknowledged(&stream, 10).await;
    consumer.kill();
    let mut second = consumer.with_a_copy_of_the_database();
    consumer.start();
    second.start();
    publish(&nats, 5).await;
    // Whichever has counted message 11 goes on; the other one is never given it.
    let (mut ended, mut counting) = loop {
        match (consumer.is_running(), second.is_running()) {
            (true, true) => sleep(Duration::from_millis(20)).await,
            (false, _) => break (consumer, second),
            (_, false) => break (second, consumer),
        }
    };
    let said = ended.last_words().await;
    assert!(said.contains("NATS delivers nothing before message 1") && said.contains("billing-rust"), "{said}");
    assert_eq!((ended.position(), ended.counted()), (Some(10), BTreeMap::from([("-".to_owned(), 10)])));
    counting.wait_for(15).await;
    assert_eq!(counting.counted(), BTreeMap::from([("-".to_owned(), 15)]));
}

async fn wait_until_acknowledged(stream: &Stream, message: u64) {
    let began = Instant::now();
    let acknowledged = async || {
        let at = stream.get_consumer::<pull::Config>("billing-rust").await.expect("its consumer");
        at.cached_info().ack_floor.stream_sequence
    };
    while acknowledged().await < message {
        assert!(began.elapsed() < COUNTED_MAX, "{message} is not acknowledged");
        sleep(Duration::from_millis(20)).await;
    }
}

/// One that can lose messages, unlike that of the gateway.
async fn stream_with(nats: &NatsServer, messages: u64) -> Stream {
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.expect("a connection"));
    let subjects = vec!["ledgerway.events.>".to_owned()];
    let config = Config { name: "LEDGERWAY".to_owned(), subjects, ..Config::default() };
    let stream = jetstream.create_stream(config).await.expect("a stream");
    publish(nats, messages).await;
    stream
}

async fn publish(nats: &NatsServer, messages: u64) {
    publish_recorded(nats, messages, BEFORE).await;
}

async fn publish_recorded(nats: &NatsServer, messages: u64, recorded_at: &str) {
    let jetstream = jetstream::new(async_nats::connect(nats.url()).await.expect("a connection"));
    for _ in 0..messages {
        let data = json!({ "charged_usd": "0.000000001" });
        let event = json!({ "type": "budget.settled.v1", "recorded_at": recorded_at, "data": data });
        let sent = jetstream.publish("ledgerway.events.ledger.budget.settled.v1.-", event.to_string().into()).await;
        sent.expect("sent").await.expect("stored");
    }
}

async fn new_tenant(gateway: &Gateway, upstream: &MockUpstream) -> Tenant {
    Tenant::with(gateway, upstream, &["ok"], Setup { limit_usd: "100", ..Setup::default() }).await
}

/// Sends some requests, several at a time, unless the gateway is gone.
async fn load(app: Client, body: Value) {
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (app, body) = (app.clone(), body.clone());
        workers.spawn(async move {
            for _ in 0..5 {
                if let Err(Lost) = app.try_post(NATIVE, &body).await {
                    return;
                }
            }
        });
    }
    workers.join_all().await;
}

/// Returns each tenant's charge by the log.
fn charged(log: &[Value]) -> BTreeMap<String, i64> {
    let mut charged = BTreeMap::new();
    for event in log {
        let amount = match type_of(event) {
            "budget.settled.v1" | "budget.expired.v1" => nano(&event["data"]["charged_usd"]),
            "budget.adjusted.v1" => nano(&event["data"]["delta_usd"]),
            _ => continue,
        };
        let tenant = event["tenant_id"].as_str().unwrap_or("-");
        *charged.entry(tenant.to_owned()).or_default() += amount;
    }
    charged
}

/// The consumer of the page.
struct Consumer {
    url: String,
    folder: Arc<tempfile::TempDir>,
    process: Option<Child>,
    /// How long its errors were when it was started last.
    said_before: u64,
}

impl Consumer {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            folder: Arc::new(tempfile::tempdir().expect("a folder")),
            process: None,
            said_before: 0,
        }
    }

    fn of_the_same_database(&self) -> Self {
        Self { url: self.url.clone(), folder: Arc::clone(&self.folder), process: None, said_before: 0 }
    }

    fn with_a_copy_of_the_database(&self) -> Self {
        let copy = Self::new(&self.url);
        let path = copy.folder.path().join("billing.db");
        self.database().execute("VACUUM INTO ?1", [path.to_str().expect("a path")]).expect("a copy");
        copy
    }

    fn start(&mut self) {
        // Cargo builds examples with the tests.
        let program = Path::new(BINARY).with_file_name("examples").join("billing");
        let mut command = Command::new(&program);
        let stderr = self.stderr();
        self.said_before = stderr.metadata().expect("its length").len();
        command.arg(&self.url).arg(self.folder.path().join("billing.db")).stdin(Stdio::null()).stderr(stderr);
        let process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        self.process = Some(process);
    }

    /// The end of a file, to which another consumer of the same database may write as well.
    fn stderr(&self) -> File {
        File::options().create(true).append(true).open(self.folder.path().join("stderr")).expect("a file")
    }

    /// Returns its stderr since it was started, after it has ended by itself.
    async fn last_words(&mut self) -> String {
        let began = Instant::now();
        while self.is_running() {
            assert!(began.elapsed() < COUNTED_MAX, "it does not end: {:?}", self.position());
            sleep(Duration::from_millis(20)).await;
        }
        let said = fs::read_to_string(self.folder.path().join("stderr")).expect("what it said");
        said[usize::try_from(self.said_before).expect("short")..].to_owned()
    }

    /// The position that it says is missing, after it has ended by itself.
    async fn missing(&mut self) -> u64 {
        let said = self.last_words().await;
        let words = said.split_once("the stream has lost message ").and_then(|(_, rest)| rest.split_once(','));
        words.and_then(|(missing, _)| missing.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    }

    /// Starts it, and waits until it has counted something, unless it ends or has nothing to count.
    async fn start_counting(&mut self) {
        let (before, began) = (self.position(), Instant::now());
        self.start();
        while self.position() == before && began.elapsed() < COUNTS_MAX && self.is_running() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().expect("its state").is_none())
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself, because NATS was gone.
            let _ = process.kill();
            process.wait().expect("its end");
        }
    }

    /// Kills it when it has got messages and cannot write what it has counted.
    async fn kill_before_commit(&mut self) {
        let database = self.database();
        database.execute_batch("BEGIN IMMEDIATE").expect("a lock");
        sleep(LOCKED).await;
        self.kill();
        database.execute_batch("ROLLBACK").expect("its end");
    }

    /// Lets it work until it has come to a position, and starts it again if it ends.
    async fn wait_for(&mut self, position: u64) {
        let began = Instant::now();
        while self.position() != Some(position) {
            assert!(began.elapsed() < COUNTED_MAX, "{:?} of {position}", self.position());
            if !self.is_running() {
                self.start();
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn database(&self) -> Connection {
        let database = Connection::open(self.folder.path().join("billing.db")).expect("its database");
        database.busy_timeout(Duration::from_secs(10)).expect("a setting");
        database
    }

    fn position(&self) -> Option<u64> {
        self.database().query_row("SELECT position FROM progress", [], |row| row.get(0)).ok()
    }

    fn counted(&self) -> BTreeMap<String, i64> {
        let database = self.database();
        let mut counted = database.prepare("SELECT tenant_id, nano_usd FROM charged").expect("its table");
        let rows = counted.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("amounts")
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn the_page_shows_the_consumers_that_are_tested() {
    let read =
        |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)).expect(path);
    let page = read("billing.md");
    for (language, file) in [("python", "consumer.py"), ("rust", "consumer.rs")] {
        let fence = format!("```{language}\n{}```\n", read(&format!("examples/billing/{file}")));
        assert!(page.contains(&fence), "docs/billing.md does not show docs/examples/billing/{file} as it is");
    }
}
