//! The times of one call to an upstream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::figures::{ProviderFigures, RequestFigures};
use crate::inference::targets::target::PlannedTarget;
use crate::trace::TraceHeaders;

/// When a call began, and the metrics of its provider that it updates.
pub struct CallTimeline {
    pub began: Instant,
    /// The provider's name in traces.
    pub provider_name: &'static str,
    /// For the upstream. Taken when the call is sent.
    pub trace_headers: TraceHeaders,
    figures: Arc<ProviderFigures>,
}

impl CallTimeline {
    pub fn begin(figures: &RequestFigures, target: &PlannedTarget, trace_headers: TraceHeaders) -> Self {
        let began = Instant::now();
        let figures = figures.providers.of(&target.provider);
        figures.call_begins();
        Self { began, provider_name: target.upstream().telemetry_name, trace_headers, figures }
    }

    /// Counts a report of more usage than the request can have had.
    pub fn usage_is_implausible(&self) {
        self.figures.implausible_usage.inc();
    }

    /// The head of the upstream's answer has arrived. Returns how long that took.
    pub fn answered(&self) -> Duration {
        let took = self.began.elapsed();
        self.figures.first_byte.observe(took.as_secs_f64());
        took
    }

    /// The call is over, and the request with it.
    pub fn ended(&self) {
        self.figures.whole.observe(self.began.elapsed().as_secs_f64());
    }
}
