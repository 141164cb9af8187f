//! The metric families: names, labels and buckets.

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::registered;

/// Buckets from a small model's first token to the longest responses.
const SECONDS: [f64; 14] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0];
const BATCH_EVENTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0];

pub struct Families {
    pub requests: IntCounterVec,
    pub refused: IntCounterVec,
    pub tokens: IntCounterVec,
    pub seconds: HistogramVec,
    pub first_token: HistogramVec,
    pub upstream_failures: IntCounterVec,
    pub holds_expired: IntCounter,
    pub batch_events: Histogram,
}

impl Families {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let seconds = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            registered(registry, HistogramVec::new(options, &["model"])?)
        };
        let batches = HistogramOpts::new("ledgerway_log_batch_events", "Events in one commit of the log");
        Ok(Self {
            requests: counters(
                "ledgerway_requests_total",
                "Admitted requests that have ended, by outcome: completed, failed or aborted",
                &["surface", "model", "outcome"],
            )?,
            refused: counters(
                "ledgerway_requests_refused_total",
                "Requests for a model that were recorded as refused, by error code",
                &["model", "code"],
            )?,
            tokens: counters("ledgerway_tokens_total", "Tokens billed, by class", &["model", "class"])?,
            seconds: seconds("ledgerway_request_seconds", "Time from admission to the end of the response")?,
            first_token: seconds(
                "ledgerway_first_token_seconds",
                "Time from admission to the first content of the response",
            )?,
            upstream_failures: counters(
                "ledgerway_upstream_failures_total",
                "Failed calls to providers, by reason and, if there was a response, by status class",
                &["provider", "reason", "status"],
            )?,
            holds_expired: registered(
                registry,
                IntCounter::new(
                    "ledgerway_holds_expired_total",
                    "Holds that expired because nothing ended them in time",
                )?,
            )?,
            batch_events: registered(registry, Histogram::with_opts(batches.buckets(BATCH_EVENTS.to_vec()))?)?,
        })
    }
}
