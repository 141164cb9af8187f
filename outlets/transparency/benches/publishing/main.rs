//! How fast the publisher publishes a log into a folder, with files that are durable; how old a checkpoint is while events are
//! recorded at a fixed rate, and what that takes; and what a proof from the files takes.
//!
//! `cargo bench -p transparency --bench publishing`. `PUBLISHING_EVENTS` (200000) are recorded before the first part;
//! `PUBLISHING_SECONDS` (30) is the time of each row of the second, `PUBLISHING_RATES` (1000,5000) its events a second.

#[path = "../../../analysts/benches/copy/load.rs"]
mod load;
#[path = "../../../../log/benches/verify/story.rs"]
mod story;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use events::event::log_key::LogKeyCreated;
use events::event::{Actor, Context, Event, Resource, Stream, StreamKind};
use events::time::SystemClock;
use events_log::role::{Role, RoleStatus};
use events_log::{Append, Basis, Log, LogOptions};
use harness::figures::{Spread, hundredths, millis};
use harness::process::Processes;
use harness::{settings, table, verdict};
use object_storage::{ObjectStoreAddress, Objects};
use outlets::AnyOutlet;
use tlog::Signer;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use transparency::role::{FILES_BYTES_MAX, PARTIAL_KEPT, Publisher, PublisherParts};
use transparency::{FOLDER, Files, OpenSigner, PublishedLog, WITNESS_RETRY_AFTER};

use load::{Commits, EVENTS_A_REQUEST, Load};

const EVENTS: u64 = 200_000;
const SECONDS: u64 = 30;
const RATES: [u64; 2] = [1_000, 5_000];
const PROOFS: u64 = 2_000;
const COLUMNS: [&str; 6] =
    ["events/s", "checkpoint age p50 ms", "p99 ms", "max ms", "CPU-µs an event", "CPU-µs without a publisher"];
/// How often the checkpoint is read: it is found at most this much too late.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the publisher may take to catch up after the load.
const REST_MAX: Duration = Duration::from_secs(60);
const ORIGIN: &str = "gateway.example/ledger";

fn main() -> ExitCode {
    verdict::exit_code(measure().map(|()| true))
}

fn measure() -> Result<(), String> {
    let events = settings::count("PUBLISHING_EVENTS", EVENTS)?;
    let time = settings::seconds("PUBLISHING_SECONDS", SECONDS)?;
    let rates = settings::counts("PUBLISHING_RATES", &RATES)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let mut out = io::stdout().lock();
    catch_up(&mut out, &runtime, events).map_err(|error| error.to_string())?;
    table::header(&mut out, &COLUMNS).map_err(|error| error.to_string())?;
    rates.into_iter().try_for_each(|rate| age_row(&mut out, &runtime, rate, time)).map_err(|error| error.to_string())
}

/// Publishes a log that was recorded before, and proves events of it from the files.
fn catch_up(out: &mut impl Write, runtime: &Runtime, events: u64) -> io::Result<()> {
    let (folder, into) = (tempfile::tempdir()?, tempfile::tempdir()?);
    story::record(folder.path(), events, Duration::ZERO, |_| ());
    let log = open(folder.path())?;
    let head = log.head().position;
    let published = PublishedLog::new(Files::new(objects(into.path())?));
    let (cpu, began) = (Processes::this().cpu(), Instant::now());
    runtime.block_on(async {
        let mut publishing = JoinSet::new();
        let status = publish(&log, into.path(), &mut publishing).await?;
        while status.read().position < head {
            sleep(POLL_INTERVAL).await;
        }
        publishing.shutdown().await;
        Ok::<_, io::Error>(())
    })?;
    let (took, cpu) = (began.elapsed(), Processes::this().cpu() - cpu);
    writeln!(
        out,
        "published {head} events in {} ms, {} a second; CPU for each: {} µs",
        took.as_millis(),
        u128::from(head) * 1000 / took.as_millis().max(1),
        hundredths(cpu.as_nanos() / 1000, head.into()),
    )?;
    let mut proofs = runtime.block_on(async {
        let newest = published.unchecked_checkpoint().await.map_err(io::Error::other)?;
        let newest = newest.ok_or_else(|| io::Error::other("nothing is published"))?.head;
        let mut taken = Vec::new();
        for number in 0..PROOFS {
            let (index, began) = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % head, Instant::now());
            published.tree(newest).inclusion_proof(index, head).await.map_err(io::Error::other)?;
            taken.push(began.elapsed());
        }
        Ok::<_, io::Error>(taken)
    })?;
    let spread = Spread::of(&mut proofs);
    let micros = |time: Duration| time.as_micros();
    writeln!(out, "a proof from the files: p50 {} µs, p99 {} µs\n", micros(spread.p50), micros(spread.p99))?;
    log.close();
    Ok(())
}

/// Records events at a rate, with a publisher and without one.
fn age_row(out: &mut impl Write, runtime: &Runtime, rate: u64, time: Duration) -> io::Result<()> {
    let (recorded, mut ages, with) = recorded_at(runtime, rate, time, true)?;
    let (others, _, without) = recorded_at(runtime, rate, time, false)?;
    let spread = Spread::of(&mut ages);
    let each = |cpu: Duration, events: u64| hundredths(cpu.as_nanos() / 1000, events.into());
    table::row(
        out,
        &[
            hundredths(recorded.into(), time.as_secs().into()),
            millis(spread.p50),
            millis(spread.p99),
            millis(spread.max),
            each(with, recorded),
            each(without, others),
        ],
    )
}

/// How many events were recorded, for each how long after its commit a checkpoint had it, and the CPU time of it all.
fn recorded_at(
    runtime: &Runtime,
    rate: u64,
    time: Duration,
    is_published: bool,
) -> io::Result<(u64, Vec<Duration>, Duration)> {
    let (folder, into) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (log, commits) = (open(folder.path())?, Commits::default());
    let (own, before) = (Processes::this(), Processes::this().cpu());
    let ages = runtime.block_on(async {
        let (mut publishing, mut watching) = (JoinSet::new(), JoinSet::new());
        if is_published {
            publish(&log, into.path(), &mut publishing).await?;
            let published = PublishedLog::new(Files::new(objects(into.path())?));
            watching.spawn(watch(published, commits.clone()));
        }
        Load::begin(log.clone()).await.run(rate / EVENTS_A_REQUEST, time, &commits).await;
        let ages = timeout(REST_MAX, watching.join_next()).await.map_err(io::Error::other)?;
        publishing.shutdown().await;
        ages.transpose().map_err(io::Error::other)?.transpose()
    })?;
    let (recorded, cpu) = (log.head().position, own.cpu() - before);
    log.close();
    Ok((recorded, ages.unwrap_or_default(), cpu))
}

/// The time from each commit until a published checkpoint had its position. Ends when the load has ended and all of it was seen.
async fn watch(published: PublishedLog, commits: Commits) -> io::Result<Vec<Duration>> {
    let (mut ages, mut waiting) = (Vec::new(), Vec::new());
    loop {
        let checkpoint = published.unchecked_checkpoint().await.map_err(io::Error::other)?;
        let (seen_at, size) = (Instant::now(), checkpoint.map_or(0, |checkpoint| checkpoint.head.size));
        let has_ended = commits.take(&mut waiting);
        waiting.retain(|(position, committed_at)| {
            let is_seen = *position <= size;
            if is_seen {
                ages.push(seen_at.saturating_duration_since(*committed_at));
            }
            !is_seen
        });
        if has_ended && waiting.is_empty() {
            return Ok(ages);
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn open(folder: &Path) -> io::Result<Log> {
    Log::open(folder, LogOptions::new(Arc::new(SystemClock::new()))).map_err(io::Error::other)
}

/// Starts a publisher with the settings of a gateway, after it has recorded the key of the log.
async fn publish(log: &Log, into: &Path, task: &mut JoinSet<()>) -> io::Result<RoleStatus> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls()?).build().map_err(io::Error::other)?;
    let (objects, status) = (objects(into)?, RoleStatus::new(Role::Transparency));
    record_key(log, &signer()?).await?;
    let open_signer: OpenSigner = Arc::new(|_| Box::pin(std::future::ready(Ok(signer().ok()))));
    let publisher = Publisher::new(PublisherParts {
        open: Arc::new(move || Ok(objects.clone())),
        origin: ORIGIN.to_owned(),
        open_signer,
        witnesses: Vec::new(),
        client,
        may_begin: true,
        witness_retry_after: WITNESS_RETRY_AFTER,
        files_bytes_max: FILES_BYTES_MAX,
        partial_kept: PARTIAL_KEPT,
    });
    task.spawn(AnyOutlet::from(publisher).run(log.clone(), status.clone(), Arc::new(SystemClock::new())));
    Ok(status)
}

fn signer() -> io::Result<Signer> {
    Signer::from_seed(ORIGIN.parse().map_err(io::Error::other)?, &[7; 32]).map_err(io::Error::other)
}

async fn record_key(log: &Log, signer: &Signer) -> io::Result<()> {
    let verifier_key = signer.verifier_key().to_string();
    let created = LogKeyCreated { origin: ORIGIN.to_owned(), generation: 1, verifier_key };
    let append = Append {
        stream: Stream::new(StreamKind::LogKey, ORIGIN),
        expected_sequence: 0,
        events: vec![Event::Resource(Resource::LogKeyCreated(Box::new(created)))],
        context: Context::of(Actor::Operator),
        side: Vec::new(),
        idempotency: None,
        basis: Basis::default(),
    };
    log.append(append).await.map(drop).map_err(io::Error::other)
}

fn objects(folder: &Path) -> io::Result<Objects> {
    Objects::open(&ObjectStoreAddress::of_folder(folder), &[FOLDER], |_| None, &tls()?).map_err(io::Error::other)
}

fn tls() -> io::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = rustls::RootCertStore::empty();
    Ok(builder.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth())
}
