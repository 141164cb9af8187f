//! What the request path counts and times while it works; everything that the log says as well is counted from there.
//! Handles are resolved once: a request costs a few additions here.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use events::event::admin::Provider;
use events::ids::{IdMap, ProviderId};
use projections::figures::{Names, PROVIDERS_MAX, TENANT_OWNED};
use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// From what a table lookup takes to what an answer takes.
const STAGE_SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 15.0,
    120.0,
];
const UPSTREAM_SECONDS: [f64; 14] = [0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 320.0];
/// Providers whose handles are at hand; those of others are looked up for every call.
const PROVIDERS_KEPT_MAX: usize = 4096;

/// A part of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Whose key it is.
    Authenticate,
    /// Rate limits.
    Limits,
    /// Waiting for the client's body.
    Body,
    /// Parsing, routing, bounding, pricing, and the first upstream body.
    Plan,
    /// Asking the ledger, until admission and hold are durable.
    Admit,
    /// From there to an upstream's first content, tries that failed included.
    Dispatch,
    /// From there to the end of its answer.
    Relay,
    /// Recording the end, until it is durable.
    Settle,
}

impl Stage {
    pub const ALL: [Self; 8] = [
        Self::Authenticate,
        Self::Limits,
        Self::Body,
        Self::Plan,
        Self::Admit,
        Self::Dispatch,
        Self::Relay,
        Self::Settle,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Limits => "limits",
            Self::Body => "body",
            Self::Plan => "plan",
            Self::Admit => "admit",
            Self::Dispatch => "dispatch",
            Self::Relay => "relay",
            Self::Settle => "settle",
        }
    }

    /// Whether the time is spent by the gateway itself: not waiting for the client, nor for an upstream.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Body | Self::Dispatch | Self::Relay)
    }
}

/// Handles for the whole process.
pub struct RequestFigures {
    /// In the order of [`Stage::ALL`].
    stages: [Histogram; Stage::ALL.len()],
    added: Histogram,
    open_streams: IntGauge,
    abandoned_calls: IntGauge,
    providers: Providers,
}

impl RequestFigures {
    /// Errors: the registry has families of these names already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stages =
            HistogramOpts::new("ledgerway_stage_seconds", "Time that requests for a model spend in each stage")
                .buckets(STAGE_SECONDS.to_vec());
        let stages = registered(registry, HistogramVec::new(stages, &["stage"])?)?;
        let added = HistogramOpts::new(
            "ledgerway_added_seconds",
            "Latency that the gateway adds to a request: all stages but waiting for the client and for upstreams",
        );
        let open = "Streams that are being relayed";
        let abandoned = "Whole answers that are read to their end for clients that have left";
        Ok(Self {
            stages: Stage::ALL.map(|stage| stages.with_label_values(&[stage.as_str()])),
            added: registered(registry, Histogram::with_opts(added.buckets(STAGE_SECONDS.to_vec()))?)?,
            open_streams: registered(registry, IntGauge::new("ledgerway_open_streams", open)?)?,
            abandoned_calls: registered(registry, IntGauge::new("ledgerway_abandoned_calls", abandoned)?)?,
            providers: Providers::register(registry)?,
        })
    }

    pub fn spent(&self, stage: Stage, time: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.observe(time.as_secs_f64());
        }
    }

    /// A request that was served has ended; this much of its time was ours.
    pub fn added(&self, time: Duration) {
        self.added.observe(time.as_secs_f64());
    }

    pub fn stream_opens(&self) -> Counted {
        Counted::of(&self.open_streams)
    }

    pub fn call_is_abandoned(&self) -> Counted {
        Counted::of(&self.abandoned_calls)
    }

    pub fn provider(&self, provider: &Provider) -> Arc<ProviderFigures> {
        self.providers.of(provider)
    }
}

/// One of what a gauge counts, until it is dropped.
pub struct Counted(IntGauge);

impl Counted {
    pub fn of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Handles for the calls to one provider.
pub struct ProviderFigures {
    /// Calls that were begun.
    pub calls: IntCounter,
    /// From the call to the head of an answer.
    pub first_byte: Histogram,
    /// From the call to the end of an answer.
    pub whole: Histogram,
    /// Reports of usage that were not believed.
    pub implausible_usage: IntCounter,
}

struct Providers {
    calls: IntCounterVec,
    first_byte: HistogramVec,
    whole: HistogramVec,
    implausible_usage: IntCounterVec,
    kept: RwLock<IdMap<ProviderId, Kept>>,
    names: Mutex<Names>,
}

struct Kept {
    name: String,
    figures: Arc<ProviderFigures>,
}

impl Providers {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(UPSTREAM_SECONDS.to_vec());
            registered(registry, HistogramVec::new(options, &["provider"])?)
        };
        let calls =
            Opts::new("ledgerway_upstream_calls_total", "Calls to a provider, every try of a request by itself");
        let implausible = Opts::new(
            "ledgerway_implausible_usage_total",
            "Reports of usage far above what the request was bounded by, which were not believed",
        );
        Ok(Self {
            calls: registered(registry, IntCounterVec::new(calls, &["provider"])?)?,
            first_byte: family(
                "ledgerway_upstream_first_byte_seconds",
                "From a call to a provider to its answer's head",
            )?,
            whole: family("ledgerway_upstream_seconds", "From a call to a provider to its answer's end")?,
            implausible_usage: registered(registry, IntCounterVec::new(implausible, &["provider"])?)?,
            kept: RwLock::default(),
            names: Mutex::new(Names::at_most(PROVIDERS_MAX)),
        })
    }

    fn of(&self, provider: &Provider) -> Arc<ProviderFigures> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.get(&provider.provider_id).filter(|kept| kept.name == provider.name) {
            return Arc::clone(&kept.figures);
        }
        drop(kept);
        let figures = Arc::new(self.labelled(provider));
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < PROVIDERS_KEPT_MAX || kept.contains_key(&provider.provider_id) {
            kept.insert(provider.provider_id, Kept { name: provider.name.clone(), figures: Arc::clone(&figures) });
        }
        figures
    }

    fn labelled(&self, provider: &Provider) -> ProviderFigures {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let label = if provider.tenant_id.is_some() { TENANT_OWNED } else { names.label(&provider.name) };
        ProviderFigures {
            calls: self.calls.with_label_values(&[label]),
            first_byte: self.first_byte.with_label_values(&[label]),
            whole: self.whole.with_label_values(&[label]),
            implausible_usage: self.implausible_usage.with_label_values(&[label]),
        }
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(family.clone())).map(|()| family)
}
