//! The common parts of all metrics, wherever they are counted.

use prometheus::core::Collector;
use prometheus::{IntGauge, Registry};

/// Registers a family. Errors: the registry already has one of this name.
pub fn registered<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone())).map(|()| family)
}

/// Counts one in a gauge until it is dropped.
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
