//! Metrics of limits whose counts are shared.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use projections::figures::registered;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

const ROUND_TRIP_SECONDS: [f64; 10] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5];

/// The metrics of this process.
pub struct SharedFigures {
    pub shared: IntGauge,
    pub round_trips: Histogram,
    pub outages: IntCounter,
    pub local_decisions: IntCounter,
    pub restored: IntCounter,
    /// Requests admitted in the local period that is now, or was last.
    pub admitted_locally: AtomicU64,
    pub refused_locally: AtomicU64,
}

impl SharedFigures {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let shared = "1 while this node counts rate limits in Redis, 0 in a local period";
        let outages = "Times that this node began to count rate limits by its share";
        let decisions = "Requests that this node admitted or refused by its share of a rate limit";
        let restored = "Rate limits whose counts this node has told Redis after an outage";
        let round_trips = HistogramOpts::new("ledgerway_limits_round_trip_seconds", "Time that Redis takes to answer");
        Ok(Self {
            shared: registered(registry, IntGauge::new("ledgerway_limits_shared", shared)?)?,
            round_trips: registered(registry, Histogram::with_opts(round_trips.buckets(ROUND_TRIP_SECONDS.to_vec()))?)?,
            outages: registered(registry, IntCounter::new("ledgerway_limits_outages_total", outages)?)?,
            local_decisions: registered(
                registry,
                IntCounter::new("ledgerway_limits_local_decisions_total", decisions)?,
            )?,
            restored: registered(registry, IntCounter::new("ledgerway_limits_restored_total", restored)?)?,
            admitted_locally: AtomicU64::new(0),
            refused_locally: AtomicU64::new(0),
        })
    }

    pub fn answered_after(&self, time: Duration) {
        self.round_trips.observe(time.as_secs_f64());
    }

    pub fn decided_locally(&self, is_admitted: bool) {
        self.local_decisions.inc();
        let counter = if is_admitted { &self.admitted_locally } else { &self.refused_locally };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn local_period_begins(&self) {
        self.outages.inc();
        self.admitted_locally.store(0, Ordering::Relaxed);
        self.refused_locally.store(0, Ordering::Relaxed);
    }
}
