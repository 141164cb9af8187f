//! Counters of responses: every request by area and class of status, every refusal by code and reason.

use dialects::Surface;
use events::event::admin::NarrowedScope;
use events::refusal::{ErrorCode, Refusal};
use projections::figures::{GaugeGuard, registered};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use serde_json::Value;

/// The part of the API that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Inference(Surface),
    Admin,
    Query,
    /// Routes that need no key.
    Open,
}

impl Area {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Inference(surface) => surface.spec().name,
            Self::Admin => "admin",
            Self::Query => "query",
            Self::Open => "open",
        }
    }
}

const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The counters, for the door. Cheap to clone.
#[derive(Clone)]
pub struct ResponseMetrics {
    refusals: IntCounterVec,
    connections: IntGauge,
    reserved_connections: IntGauge,
    ended_for_others: IntCounter,
    /// Requests: the name of every area, and one counter per class of status.
    by_area: Vec<(&'static str, [IntCounter; STATUSES.len()])>,
}

impl ResponseMetrics {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Opts::new("ledgerway_http_requests_total", "Responses by surface and class of status");
        let refusals = Opts::new("ledgerway_refusals_total", "Refusals by surface, code and, for some codes, reason");
        let reserved = Opts::new("ledgerway_reserved_connections", "Open client connections on reserved places");
        let ended = "Silent connections that were ended so that others had a place";
        let ended = Opts::new("ledgerway_connections_ended_for_others_total", ended);
        let requests = registered(registry, IntCounterVec::new(requests, &["surface", "status"])?)?;
        let surfaces = Surface::ALL.iter().copied().map(Area::Inference);
        let areas = surfaces.chain([Area::Admin, Area::Query, Area::Open]);
        let of = |area: Area| {
            let name = area.as_str();
            (name, STATUSES.map(|status| requests.with_label_values(&[name, status])))
        };
        Ok(Self {
            by_area: areas.map(of).collect(),
            refusals: registered(registry, IntCounterVec::new(refusals, &["surface", "code", "reason"])?)?,
            connections: registered(registry, IntGauge::new("ledgerway_open_connections", "Open client connections")?)?,
            reserved_connections: registered(registry, IntGauge::with_opts(reserved)?)?,
            ended_for_others: registered(registry, IntCounter::with_opts(ended)?)?,
        })
    }

    pub fn answered(&self, area: Area, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2).min(STATUSES.len() - 1);
        let known = self.by_area.iter().find(|(name, _)| *name == area.as_str());
        if let Some(counter) = known.and_then(|(_, counters)| counters.get(class)) {
            counter.inc();
        }
    }

    pub fn refused(&self, area: Area, refusal: &Refusal) {
        self.refusals.with_label_values(&[area.as_str(), refusal.code.as_str(), reason(refusal)]).inc();
    }

    /// Counts a connection until the returned value is dropped.
    pub fn connection_opens(&self) -> GaugeGuard {
        GaugeGuard::of(&self.connections)
    }

    /// Counts a connection that has a reserved place until the returned value is dropped.
    pub fn reserved_connection_opens(&self) -> GaugeGuard {
        GaugeGuard::of(&self.reserved_connections)
    }

    pub fn connection_ended_for_others(&self) {
        self.ended_for_others.inc();
    }
}

/// A word of a fixed set; never one that a client or an upstream chose.
fn reason(refusal: &Refusal) -> &str {
    let detail = |name: &str| refusal.details.get(name).and_then(Value::as_str);
    match refusal.code {
        ErrorCode::BudgetExceeded => scope(refusal),
        ErrorCode::RateLimited => detail("measure").unwrap_or("upstream"),
        ErrorCode::UpstreamError => detail("reason").unwrap_or_default(),
        _ => "",
    }
}

/// The owner that the budget binds.
fn scope(refusal: &Refusal) -> &str {
    let owner = refusal.details.get("scope").and_then(NarrowedScope::owner_in).map_or("", |(owner, _)| owner);
    owner.strip_suffix("_id").unwrap_or(owner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reason_is_ours_and_not_a_clients() {
        let budget = Refusal::new(ErrorCode::BudgetExceeded, "")
            .with("scope", json!({ "tenant_id": "ten_1", "metadata.project": "theirs" }));
        let limit = Refusal::new(ErrorCode::RateLimited, "").with("measure", "requests_per_minute");
        let field = Refusal::invalid("their_field", "their words");
        let upstream = Refusal::new(ErrorCode::UpstreamError, "").with("reason", "tls");
        for (refusal, wanted) in [
            (budget, "tenant"),
            (limit, "requests_per_minute"),
            (Refusal::new(ErrorCode::RateLimited, ""), "upstream"),
            (field, ""),
            (upstream, "tls"),
        ] {
            assert_eq!(reason(&refusal), wanted, "{:?}", refusal.code);
        }
    }

    #[test]
    fn an_answer_is_counted_by_its_class_of_status_even_one_that_has_none() {
        let registry = Registry::new();
        let metrics = ResponseMetrics::register(&registry).expect("new names");
        for status in [200, 204, 404, 599, 999, 100] {
            metrics.answered(Area::Admin, status);
        }
        let (_, counters) = metrics.by_area.iter().find(|(name, _)| *name == "admin").expect("an area");
        assert_eq!(counters.each_ref().map(IntCounter::get), [3, 0, 1, 2]);
    }
}
