//! Metrics of the request path: times and counts that are not in the log. Metrics that the log can tell are counted from it.
//! Label lookups happen once, so that a request costs a few additions here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use dialects::{Ignored, ProviderKind};
use events::event::admin::Provider;
use events::event::inference::Hedge;
use events::ids::{IdMap, ProviderId};
use projections::figures::{BoundedLabels, PROVIDERS_MAX, TENANT_OWNED, registered};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Buckets from the time of a table lookup to that of a long response.
const STAGE_SECONDS: [f64; 16] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 15.0,
    120.0,
];
const UPSTREAM_SECONDS: [f64; 14] = [0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 320.0];
/// Providers with cached handles; those of others are looked up for every call.
const PROVIDERS_CACHED_MAX: usize = 4096;

events::named! {
    /// A stage of a request's processing.
    pub enum Stage {
        /// Finding the caller.
        Authenticate = "authenticate",
        /// Checking rate limits.
        Limits = "limits",
        /// Waiting for the client's body.
        Body = "body",
        /// Parsing, routing, bounding, pricing, and the first upstream body.
        Plan = "plan",
        /// Waiting for the ledger, until admission and hold are durable.
        Admit = "admit",
        /// Calling upstreams, including failed attempts, until the first content.
        Dispatch = "dispatch",
        /// Relaying the response to its end.
        Relay = "relay",
        /// Recording the end, until it is durable.
        Settle = "settle",
    }
}

events::named! {
    /// How a request for a count of tokens was answered.
    pub enum TokenCount {
        /// Counted by the provider.
        Provider = "provider",
        /// Estimated by the gateway.
        Estimate = "estimate",
        /// Not at all: the provider failed to count.
        Failed = "failed",
    }
}

events::named! {
    /// The outcome for a request that is to be copied to the shadow of its model.
    pub enum CopyOutcome {
        /// The copy was admitted.
        Sent = "sent",
        /// The copy was not admitted: by budgets, rate limits or terms, or for want of a model, a price or a target.
        Refused = "refused",
        /// There was no room for it, or no time.
        Dropped = "dropped",
    }
}

impl Stage {
    /// Returns whether the gateway itself spends this time, rather than waiting for the client or an upstream.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Body | Self::Dispatch | Self::Relay)
    }
}

/// The handles of the process.
pub struct RequestFigures {
    /// In the order of [`Stage::ALL`].
    stages: Vec<Histogram>,
    /// The latency that the gateway added to each request that was served.
    pub added: Histogram,
    pub open_streams: IntGauge,
    pub abandoned_calls: IntGauge,
    pub providers: Providers,
    pub ignored: IgnoredFeatures,
    /// In the order of [`TokenCount::ALL`].
    token_counts: Vec<IntCounter>,
    /// In the order of [`Hedge::ALL`].
    hedges: Vec<IntCounter>,
    /// Hedges for which no target could be called.
    hedges_not_called: IntCounter,
    /// In the order of [`CopyOutcome::ALL`].
    copies: Vec<IntCounter>,
}

impl RequestFigures {
    /// Errors: the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stages = HistogramOpts::new("ledgerway_stage_seconds", "Time that inference requests spend in each stage")
            .buckets(STAGE_SECONDS.to_vec());
        let stages = registered(registry, HistogramVec::new(stages, &["stage"])?)?;
        let added = HistogramOpts::new(
            "ledgerway_added_seconds",
            "Latency that the gateway adds to a request: all stages except waiting for the client and for upstreams",
        );
        let open = "Streams that are being relayed";
        let abandoned = "Calls that continue after their clients disconnected";
        let counts = Opts::new("ledgerway_token_counts_total", "Requests for a count of tokens, by who has counted");
        let counts = registered(registry, IntCounterVec::new(counts, &["by"])?)?;
        let hedges =
            "Second calls of requests that were made because the first target had not answered, by what became of them";
        let hedges = Opts::new("ledgerway_hedges_total", hedges);
        let hedges = registered(registry, IntCounterVec::new(hedges, &["outcome"])?)?;
        let copies =
            Opts::new("ledgerway_shadow_copies_total", "Requests that were to be copied to the shadow of their model");
        let copies = registered(registry, IntCounterVec::new(copies, &["outcome"])?)?;
        Ok(Self {
            hedges: Hedge::ALL.iter().map(|hedge| hedges.with_label_values(&[hedge.as_str()])).collect(),
            hedges_not_called: hedges.with_label_values(&["not_called"]),
            stages: Stage::ALL.iter().map(|stage| stages.with_label_values(&[stage.as_str()])).collect(),
            added: registered(registry, Histogram::with_opts(added.buckets(STAGE_SECONDS.to_vec()))?)?,
            open_streams: registered(registry, IntGauge::new("ledgerway_open_streams", open)?)?,
            abandoned_calls: registered(registry, IntGauge::new("ledgerway_abandoned_calls", abandoned)?)?,
            providers: Providers::register(registry)?,
            ignored: IgnoredFeatures::register(registry)?,
            token_counts: TokenCount::ALL.iter().map(|by| counts.with_label_values(&[by.as_str()])).collect(),
            copies: CopyOutcome::ALL.iter().map(|of| copies.with_label_values(&[of.as_str()])).collect(),
        })
    }

    pub fn observe_stage(&self, stage: Stage, time: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.observe(time.as_secs_f64());
        }
    }

    pub fn hedged(&self, hedge: Hedge) {
        if let Some(counter) = self.hedges.get(hedge as usize) {
            counter.inc();
        }
    }

    pub fn hedge_was_not_called(&self) {
        self.hedges_not_called.inc();
    }

    pub fn count_copy(&self, outcome: CopyOutcome) {
        if let Some(counter) = self.copies.get(outcome as usize) {
            counter.inc();
        }
    }

    pub fn tokens_counted(&self, by: TokenCount) {
        if let Some(counter) = self.token_counts.get(by as usize) {
            counter.inc();
        }
    }
}

/// Counts features that clients asked for and calls went without, because the provider's dialect cannot express them, or the model refuses
/// them.
pub struct IgnoredFeatures(IntCounterVec);

impl IgnoredFeatures {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Calls without something that the client asked for, which the provider's dialect cannot express or the model refuses";
        let ignored = IntCounterVec::new(Opts::new("ledgerway_ignored_features_total", help), &["kind", "feature"])?;
        Ok(Self(registered(registry, ignored)?))
    }

    /// Counts a call. Most calls ignore nothing.
    pub fn count(&self, kind: ProviderKind, ignored: &Ignored) {
        for name in ignored.metric_names() {
            self.0.with_label_values(&[kind.as_str(), name]).inc();
        }
    }
}

/// The handles for calls to one provider.
pub struct ProviderFigures {
    /// The provider's name when these handles were made.
    name: String,
    /// Calls that were started, by all providers of the label.
    calls: IntCounter,
    /// Calls that were started, to this provider alone.
    own_calls: AtomicU64,
    /// Further calls that its retry budget forbade.
    pub retries_forbidden: IntCounter,
    /// Time from the call to the head of the response.
    pub first_byte: Histogram,
    /// Time from the call to the end of the response.
    pub whole: Histogram,
    /// Reports of usage that were too high to be believed.
    pub implausible_usage: IntCounter,
}

impl ProviderFigures {
    pub fn call_begins(&self) {
        self.calls.inc();
        self.own_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// The calls to the provider that were started since it got its name.
    pub fn own_calls(&self) -> u64 {
        self.own_calls.load(Ordering::Relaxed)
    }
}

pub struct Providers {
    calls: IntCounterVec,
    retries_forbidden: IntCounterVec,
    first_byte: HistogramVec,
    whole: HistogramVec,
    implausible_usage: IntCounterVec,
    cached: RwLock<IdMap<ProviderId, Arc<ProviderFigures>>>,
    names: Mutex<BoundedLabels>,
}

impl Providers {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let family = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(UPSTREAM_SECONDS.to_vec());
            registered(registry, HistogramVec::new(options, &["provider"])?)
        };
        let calls =
            Opts::new("ledgerway_upstream_calls_total", "Calls to a provider, counting each attempt of a request");
        let forbidden = Opts::new(
            "ledgerway_retries_forbidden_total",
            "Further calls of requests that were not made, because the retry budget of the provider was used up",
        );
        let implausible = Opts::new(
            "ledgerway_implausible_usage_total",
            "Reports of usage far above the bound of the request, which were not believed",
        );
        Ok(Self {
            calls: registered(registry, IntCounterVec::new(calls, &["provider"])?)?,
            retries_forbidden: registered(registry, IntCounterVec::new(forbidden, &["provider"])?)?,
            first_byte: family(
                "ledgerway_upstream_first_byte_seconds",
                "Time from a call to a provider to the head of its response",
            )?,
            whole: family("ledgerway_upstream_seconds", "Time from a call to a provider to the end of its response")?,
            implausible_usage: registered(registry, IntCounterVec::new(implausible, &["provider"])?)?,
            cached: RwLock::default(),
            names: Mutex::new(BoundedLabels::at_most(PROVIDERS_MAX)),
        })
    }

    pub fn of(&self, provider: &Provider) -> Arc<ProviderFigures> {
        let cached = self.cached.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.get(&provider.provider_id).filter(|cached| cached.name == provider.name) {
            return Arc::clone(cached);
        }
        drop(cached);
        let figures = Arc::new(self.labelled(provider));
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        if cached.len() < PROVIDERS_CACHED_MAX || cached.contains_key(&provider.provider_id) {
            cached.insert(provider.provider_id, Arc::clone(&figures));
        }
        figures
    }

    fn labelled(&self, provider: &Provider) -> ProviderFigures {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let label = if provider.tenant_id.is_some() { TENANT_OWNED } else { names.label(&provider.name) };
        ProviderFigures {
            name: provider.name.clone(),
            calls: self.calls.with_label_values(&[label]),
            own_calls: AtomicU64::default(),
            retries_forbidden: self.retries_forbidden.with_label_values(&[label]),
            first_byte: self.first_byte.with_label_values(&[label]),
            whole: self.whole.with_label_values(&[label]),
            implausible_usage: self.implausible_usage.with_label_values(&[label]),
        }
    }
}
