//! `GET /metrics`: what the parts of the process have counted, in Prometheus' text format. Labels are bounded: models and
//! providers by a number, the rest by the code; none names a key, a user or a tenant.

mod answers;
mod process;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use command::body::memory::BodyMemory;
use events::log::{BatchFigures, COMMIT_MICROS_BOUNDS, Log};
use events::time::Clock;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use openapi::schema;
use openapi::{Answer, Api, Entrance, Operation};
use projections::figures::Figures;
use projections::views::ViewsHandle;
use prometheus::{Registry, TextEncoder};

use crate::in_flight::InFlight;
use text::{Kind, Text, seconds};

pub use answers::{Answers, Area, OpenConnection};
pub use process::Looks;

pub const PATH: &str = "/metrics";
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that is asked when metrics are.
pub struct Metrics {
    pub registry: Registry,
    pub figures: Figures,
    pub log: Log,
    pub views: ViewsHandle,
    pub in_flight: InFlight,
    pub clock: Arc<dyn Clock>,
    pub process: Looks,
    pub bodies: Bodies,
}

/// The memory that bodies of requests may take, and answers to those for inference.
#[derive(Clone)]
pub struct Bodies {
    pub inference: Arc<BodyMemory>,
    pub answers: Arc<BodyMemory>,
    pub administration: Arc<BodyMemory>,
}

pub fn routes(metrics: Metrics) -> Api {
    Api::of(Entrance::Open).get(PATH, show, described).with_state(Arc::new(metrics))
}

fn described() -> Operation {
    Operation::new("metrics", "Health", "Figures for Prometheus")
        .says("Absent when metrics have a listener of their own.")
        .answers(StatusCode::OK, Answer::of("Prometheus text", "text/plain", schema::string()))
}

async fn show(State(metrics): State<Arc<Metrics>>) -> Response {
    ([(CONTENT_TYPE, FORMAT)], metrics.written().await).into_response()
}

impl Metrics {
    async fn written(&self) -> String {
        self.figures.wait_for(self.log.head().position).await;
        let mut out = String::with_capacity(16 * 1024);
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut out) {
            tracing::error!(%error, "write the metrics");
        }
        self.figures.write_money(&mut out);
        let mut text = Text::behind(out);
        self.write_log(&mut text);
        self.write_views(&mut text);
        text.gauge("ledgerway_requests_in_flight", "Requests whose answer has not ended", self.in_flight.count());
        self.write_bodies(&mut text);
        text.gauge("ledgerway_draining", "1 while no new requests are taken", u8::from(self.in_flight.is_draining()));
        text.family("ledgerway_build_info", Kind::Gauge, "1, with the version as a label");
        text.sample("ledgerway_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
        if let Some(process) = self.process.fresh().await {
            process.write(&mut text);
        }
        text.finish()
    }

    fn write_log(&self, text: &mut Text) {
        let figures = self.log.figures();
        text.gauge("ledgerway_log_head_position", "Position of the log's last event", self.log.head().position);
        text.gauge("ledgerway_log_writable", "1 while the ledger can be written", u8::from(self.log.is_writable()));
        text.gauge("ledgerway_log_queue_jobs", "Jobs that wait for the log's writer", figures.queued);
        text.counter("ledgerway_log_events_total", "Events that were appended", figures.events);
        text.counter("ledgerway_log_jobs_total", "Jobs that the writer has committed", figures.jobs);
        text.counter("ledgerway_log_batches_total", "Commits of the log, each with one sync", figures.batches);
        let failed = "Commits of the log that failed; what was in them was answered with an error";
        text.counter("ledgerway_log_failed_batches_total", failed, figures.failed_batches);
        write_commits(text, &figures);
        text.gauge("ledgerway_open_holds", "Holds that have not ended", figures.open_holds);
        text.gauge(
            "ledgerway_uncountable_holds",
            "Holds that have expired and stay open because their charge cannot be counted",
            figures.uncountable_holds,
        );
        let age = figures
            .oldest_hold
            .map_or(Duration::ZERO, |admitted_at| (self.clock.now() - admitted_at).to_std().unwrap_or_default());
        text.gauge(
            "ledgerway_oldest_hold_seconds",
            "Age of the open hold that expires first, 0 where there is none",
            seconds(age),
        );
    }

    fn write_bodies(&self, text: &mut Text) {
        let kinds = [("inference", &self.bodies.inference), ("administration", &self.bodies.administration)];
        let held = "ledgerway_request_body_bytes";
        text.family(held, Kind::Gauge, "Bytes of request bodies that are held");
        kinds.iter().for_each(|(kind, bodies)| text.sample(held, &[("kind", kind)], bodies.bytes_held()));
        let bound = "ledgerway_request_body_bytes_max";
        text.family(bound, Kind::Gauge, "Bytes of request bodies that may be held at a time");
        kinds.iter().for_each(|(kind, bodies)| text.sample(bound, &[("kind", kind)], bodies.bounds().process));
        let answers = &self.bodies.answers;
        text.gauge("ledgerway_answer_bytes", "Bytes of large answers that are held", answers.bytes_held());
        let bound = "Bytes of large answers that may be held at a time";
        text.gauge("ledgerway_answer_bytes_max", bound, answers.bounds().process);
    }

    fn write_views(&self, text: &mut Text) {
        let views = self.views.status();
        let mut family = |name: &str, help: &str, value: &dyn Fn(&projections::views::ViewStatus) -> String| {
            text.family(name, Kind::Gauge, help);
            for view in &views {
                text.sample(name, &[("view", view.name)], value(view));
            }
        };
        family("ledgerway_view_position", "Position up to which the view has taken in the log", &|view| {
            view.position.to_string()
        });
        family("ledgerway_view_lag_events", "Events that the view has not taken in", &|view| {
            view.lag_events.to_string()
        });
        family("ledgerway_view_lag_seconds", "Time between the view's last event and the log's", &|view| {
            seconds(Duration::from_millis(view.lag_ms))
        });
        family("ledgerway_view_stopped", "1 where the view has stopped at an error", &|view| {
            u8::from(view.error.is_some()).to_string()
        });
    }
}

fn write_commits(text: &mut Text, figures: &BatchFigures) {
    const NAME: &str = "ledgerway_log_commit_seconds";
    text.family(NAME, Kind::Histogram, "From a batch's first statement to the end of its commit");
    let bucket = format!("{NAME}_bucket");
    let mut commits = 0;
    for (bound, class) in COMMIT_MICROS_BOUNDS.iter().zip(figures.commits_by_duration) {
        commits += class;
        text.sample(&bucket, &[("le", &seconds(Duration::from_micros(*bound)))], commits);
    }
    let commits: u64 = figures.commits_by_duration.iter().sum();
    text.sample(&bucket, &[("le", "+Inf")], commits);
    text.sample(&format!("{NAME}_sum"), &[], seconds(Duration::from_micros(figures.commit_micros)));
    text.sample(&format!("{NAME}_count"), &[], commits);
}
