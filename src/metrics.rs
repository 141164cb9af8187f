//! `GET /metrics`: the counts of all parts of the process, in Prometheus' text format. Labels are bounded: those of models
//! and providers by number, all others by the code. None names a key, a user or a tenant.

mod process;
mod responses;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use blocking_work::Pool;
use command::body::memory::BodyMemory;
use events::time::Clock;
use events_log::role::{RoleReport, RoleState, RoleStatus};
use events_log::{BatchFigures, COMMIT_MICROS_BOUNDS, Log};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use openapi::schema;
use openapi::{Answer, Api, Entrance, Operation};
use projections::figures::Figures;
use projections::tables::TablesHandle;
use projections::views::NodeViews;
use prometheus::{Registry, TextEncoder};

use crate::in_flight::InFlight;
use text::{MetricKind, MetricLabel, TextWriter, seconds};

pub use process::ProcessSampler;
pub use responses::{Area, ResponseMetrics};

pub const PATH: &str = "/metrics";
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The sources of the metrics.
pub struct Metrics {
    pub registry: Registry,
    pub figures: Figures,
    pub log: Log,
    pub views: NodeViews,
    pub tables: TablesHandle,
    pub in_flight: InFlight,
    pub clock: Arc<dyn Clock>,
    pub process: ProcessSampler,
    pub memories: BodyMemories,
    /// The roles that this process may have for all nodes.
    pub roles: Vec<RoleStatus>,
}

/// The memory for bodies of requests, and for responses to inference requests.
#[derive(Clone)]
pub struct BodyMemories {
    pub inference: Arc<BodyMemory>,
    pub answers: Arc<BodyMemory>,
    pub administration: Arc<BodyMemory>,
}

pub fn routes(metrics: Metrics) -> Api {
    Api::of(Entrance::Open).get(PATH, show, described).with_state(Arc::new(metrics))
}

fn described() -> Operation {
    Operation::new("metrics", "Health", "Metrics for Prometheus")
        .says("Not served here if metrics have their own listener.")
        .answers(StatusCode::OK, Answer::of("Prometheus text", "text/plain", schema::string()))
}

async fn show(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(CONTENT_TYPE, FORMAT)], metrics.rendered().await).into_response()
}

impl Metrics {
    async fn rendered(&self) -> String {
        self.figures.wait_for(self.log.head().position).await;
        let mut out = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "cannot render some metrics");
        }
        self.figures.write_money(&mut out);
        let mut text = TextWriter { out: &mut out };
        self.write_log(&mut text);
        self.write_views(&mut text);
        self.write_roles(&mut text);
        text.gauge("ledgerway_requests_in_flight", "Requests whose response has not ended", self.in_flight.count());
        self.write_bodies(&mut text);
        write_blocking_work(&mut text);
        text.gauge(
            "ledgerway_provider_keys_set_aside",
            "API keys that their providers do not accept, of shared providers with several keys",
            self.tables.load().keys_set_aside(),
        );
        text.gauge(
            "ledgerway_breakers_open",
            "Targets that get no requests for a while, because they have failed again and again",
            self.tables.load().shared_open_breakers(self.clock.now()),
        );
        text.gauge(
            "ledgerway_draining",
            "1 while the gateway accepts no new requests",
            u8::from(self.in_flight.is_draining()),
        );
        text.family("ledgerway_build_info", MetricKind::Gauge, "Always 1; the label is the version");
        text.sample("ledgerway_build_info", &[MetricLabel { name: "version", value: env!("CARGO_PKG_VERSION") }], 1);
        if let Some(process) = self.process.sample().await {
            process.write(&mut text);
        }
        out
    }

    fn write_log(&self, text: &mut TextWriter<'_>) {
        let figures = self.log.figures();
        text.gauge("ledgerway_log_head_position", "Position of the last event of the log", self.log.head().position);
        text.gauge("ledgerway_log_writable", "1 while the ledger is writable", u8::from(self.log.is_writable()));
        text.gauge("ledgerway_log_queue_jobs", "Jobs waiting for the writer of the log", figures.queued);
        text.counter("ledgerway_log_events_total", "Appended events", figures.events);
        text.counter("ledgerway_log_jobs_total", "Committed jobs: admissions, ends and changes", figures.jobs);
        text.counter("ledgerway_log_batches_total", "Commits, each with one sync", figures.batches);
        let failed = "Commits that failed; their jobs were answered with an error";
        text.counter("ledgerway_log_failed_batches_total", failed, figures.failed_batches);
        let again = "Batches decided again because another node had appended first";
        text.counter("ledgerway_log_batches_decided_again_total", again, figures.decided_again);
        write_commits(text, &figures);
        text.gauge("ledgerway_open_holds", "Holds that have not ended", figures.open_holds);
        let age = figures
            .oldest_hold
            .map_or(Duration::ZERO, |admitted_at| (self.clock.now() - admitted_at).to_std().unwrap_or_default());
        text.gauge(
            "ledgerway_oldest_hold_seconds",
            "Age of the open hold that expires first, 0 if there is none",
            seconds(age),
        );
    }

    fn write_bodies(&self, text: &mut TextWriter<'_>) {
        let kinds = [("inference", &self.memories.inference), ("administration", &self.memories.administration)];
        let held = "ledgerway_request_body_bytes";
        text.family(held, MetricKind::Gauge, "Bytes of request bodies in memory");
        kinds.iter().for_each(|(kind, memory)| {
            text.sample(held, &[MetricLabel { name: "kind", value: kind }], memory.bytes_held())
        });
        let bound = "ledgerway_request_body_bytes_max";
        text.family(bound, MetricKind::Gauge, "Limit of the bytes of request bodies in memory");
        kinds.iter().for_each(|(kind, memory)| {
            text.sample(bound, &[MetricLabel { name: "kind", value: kind }], memory.bounds().process)
        });
        let answers = &self.memories.answers;
        text.gauge("ledgerway_answer_bytes", "Bytes of responses above 16 KiB in memory", answers.bytes_held());
        let bound = "Limit of the bytes of responses in memory";
        text.gauge("ledgerway_answer_bytes_max", bound, answers.bounds().process);
    }

    fn write_views(&self, text: &mut TextWriter<'_>) {
        let views = self.views.status();
        let mut family = |name: &str, help: &str, value: &dyn Fn(&projections::views::ViewStatus) -> String| {
            text.family(name, MetricKind::Gauge, help);
            for view in &views {
                text.sample(name, &[MetricLabel { name: "view", value: view.name }], value(view));
            }
        };
        family("ledgerway_view_position", "Log position up to which the view is current", &|view| {
            view.position.to_string()
        });
        family("ledgerway_view_lag_events", "Events that the view has not applied yet", &|view| {
            view.lag_events.to_string()
        });
        family("ledgerway_view_lag_seconds", "Time between the view's last event and the log's", &|view| {
            seconds(Duration::from_millis(view.lag_ms))
        });
        family("ledgerway_view_stopped", "1 if the view has stopped at an error", &|view| {
            u8::from(view.error.is_some()).to_string()
        });
    }

    fn write_roles(&self, text: &mut TextWriter<'_>) {
        let head = self.log.head().position;
        let reports: Vec<RoleReport> = self.roles.iter().map(RoleStatus::read).collect();
        let mut family = |name: &str, help: &str, value: &dyn Fn(&RoleReport) -> Option<u64>| {
            text.family(name, MetricKind::Gauge, help);
            for report in &reports {
                if let Some(value) = value(report) {
                    text.sample(name, &[MetricLabel { name: "role", value: report.role.as_str() }], value);
                }
            }
        };
        // What another process does is known to that one.
        let position = |report: &RoleReport| (report.state != RoleState::Waiting).then_some(report.position);
        family("ledgerway_role_working", "1 while this process has the role and does its work", &|report| {
            Some(u64::from(report.state == RoleState::Working))
        });
        family(
            "ledgerway_role_failing",
            "1 while this process cannot do the work of the role, whether or not it has it",
            &|report| Some(u64::from(matches!(report.state, RoleState::Failing { .. }))),
        );
        family("ledgerway_role_position", "Log position up to which the work is done", &position);
        family("ledgerway_role_lag_events", "Events of the log after that position", &|report| {
            position(report).map(|position| head.saturating_sub(position))
        });
    }
}

fn write_blocking_work(text: &mut TextWriter<'_>) {
    let mut family = |name: &str, kind: MetricKind, help: &str, value: &dyn Fn(&Pool) -> u64| {
        text.family(name, kind, help);
        for pool in blocking_work::POOLS {
            text.sample(name, &[MetricLabel { name: "pool", value: pool.name }], value(pool));
        }
    };
    let running = "Pieces of work that run on a thread of their own";
    family("ledgerway_blocking_work_running", MetricKind::Gauge, running, &|pool| pool.running() as u64);
    let waiting = "Pieces of work that wait for their turn";
    family("ledgerway_blocking_work_waiting", MetricKind::Gauge, waiting, &|pool| pool.waiting() as u64);
    let late = "Pieces of work whose turn did not come in time";
    family("ledgerway_blocking_work_late_total", MetricKind::Counter, late, &|pool| pool.late());
}

fn write_commits(text: &mut TextWriter<'_>, figures: &BatchFigures) {
    const NAME: &str = "ledgerway_log_commit_seconds";
    text.family(NAME, MetricKind::Histogram, "Time from the first statement of a batch to the end of its commit");
    let bucket = format!("{NAME}_bucket");
    let mut commits = 0;
    for (bound, class) in COMMIT_MICROS_BOUNDS.iter().zip(figures.commits_by_duration) {
        commits += class;
        text.sample(&bucket, &[MetricLabel { name: "le", value: &seconds(Duration::from_micros(*bound)) }], commits);
    }
    let commits: u64 = figures.commits_by_duration.iter().sum();
    text.sample(&bucket, &[MetricLabel { name: "le", value: "+Inf" }], commits);
    text.sample(&format!("{NAME}_sum"), &[], seconds(Duration::from_micros(figures.commit_micros)));
    text.sample(&format!("{NAME}_count"), &[], commits);
}
