//! Metrics of sealed content.

use events::content::ContentPart;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Cheap to clone; the clones share the metrics.
#[derive(Clone)]
pub struct ContentFigures {
    kept: IntCounterVec,
    lost: IntCounterVec,
    expired: IntCounter,
    pending: IntGauge,
}

impl ContentFigures {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &["part"])?;
            registry.register(Box::new(counter.clone()))?;
            ContentPart::words().for_each(|part| drop(counter.with_label_values(&[part])));
            Ok::<_, prometheus::Error>(counter)
        };
        let pending = IntGauge::new("ledgerway_content_pending", "Prompts and answers on their way to the store")?;
        registry.register(Box::new(pending.clone()))?;
        let help = "Prompts and answers that were deleted because their tenants keep them no longer";
        let expired = IntCounter::new("ledgerway_content_expired_total", help)?;
        registry.register(Box::new(expired.clone()))?;
        Ok(Self {
            kept: counter("ledgerway_content_kept_total", "Prompts and answers that were sealed and stored")?,
            lost: counter(
                "ledgerway_content_lost_total",
                "Prompts and answers that were to be kept, and were not: the queue was full, the store failed for too long, or the \
                 answer was longer than 4 MiB",
            )?,
            expired,
            pending,
        })
    }

    pub(crate) fn count_kept(&self, part: ContentPart) {
        self.kept.with_label_values(&[part.as_str()]).inc();
    }

    pub(crate) fn count_lost(&self, part: ContentPart) {
        self.lost.with_label_values(&[part.as_str()]).inc();
    }

    /// Counts objects that were deleted after their days.
    pub(crate) fn count_expired(&self, objects: u64) {
        self.expired.inc_by(objects);
    }

    pub(crate) const fn pending(&self) -> &IntGauge {
        &self.pending
    }

    #[cfg(test)]
    pub(crate) fn lost(&self, part: ContentPart) -> u64 {
        self.lost.with_label_values(&[part.as_str()]).get()
    }
}
