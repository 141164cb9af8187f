//! A target that may serve a request.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use dialects::facts::{self, Unpriced};
use dialects::provider_dialects::{self, Upstream};
use dialects::surfaces::priceable::{CACHE_CONTROL, SERVICE_TIER};
use dialects::{ClientRequest, EmbeddingsTarget, OutboundTarget, ProviderKind, Server, UpstreamCap};
use events::event::admin::{Price, Provider, Target};
use events::event::inference::{Backend, Payer};
use events::ids::{ModelId, TenantId};
use events::money::Tariff;
use events::output_cap::OutputCap;
use events::refusal::{ErrorCode, Refusal};
use events::terms::Requirements;
use projections::tables::{Offer, Tables, TargetLimits};

use super::target_places::LimitedTarget;

/// A target, with its provider and the price that it would be billed at.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    pub provider: Arc<Provider>,
    /// The provider's own `kind` is only a name.
    pub kind: ProviderKind,
    pub backend: Backend,
    /// `provider/model`, as clients see it.
    pub name: String,
    price: Arc<Price>,
    pub price_version: u64,
    /// Fields it may be sent although they change the cost, if these are more than its provider allows: a service tier
    /// and a cache's lifetime that the price has.
    allowed_for_price: Option<BTreeSet<String>>,
    /// The limits as the tables have them, without a tokenizer that its provider does not count by.
    pub limits: TargetLimits,
    /// The server whose deviations from its dialect are known.
    server: Option<Server>,
    /// Whether its breaker was open when the request was planned.
    pub had_open_breaker: bool,
}

/// The terms by which usage at a target is measured.
#[derive(Clone, Copy)]
pub struct UsageTerms<'a> {
    pub tariff: &'a Tariff,
    pub context_window: Option<u64>,
    /// Reports of up to so many tokens are believed, whatever the request.
    pub input_tokens_believed: u64,
    pub output_tokens_believed: u64,
}

impl PlannedTarget {
    pub fn of(request: &ClientRequest, kind: ProviderKind, target: &Target, offer: Offer<'_>) -> Self {
        let Offer { provider, price, limits } = offer;
        Self {
            name: [&provider.name, "/", &target.model].concat(),
            provider: Arc::clone(provider),
            kind,
            backend: Backend {
                provider_id: target.provider_id,
                provider: provider.name.clone(),
                model: target.model.clone(),
                provider_key_id: None,
            },
            price: Arc::clone(&price.value),
            price_version: price.version,
            allowed_for_price: allowed_for_price(&request.facts.unpriced, offer),
            limits: TargetLimits {
                tokenizer: limits.tokenizer.filter(|_| provider_dialects::of(kind).has_tokenizers),
                ..limits
            },
            server: provider_dialects::server_of(provider),
            had_open_breaker: false,
        }
    }

    #[must_use]
    pub fn with_open_breaker(self) -> Self {
        Self { had_open_breaker: true, ..self }
    }

    /// Whether its provider is the tenant's own, who says what it costs.
    pub fn is_own(&self) -> bool {
        Payer::of(&self.provider) == Payer::Own
    }

    /// The target, if it may have so many calls under way.
    pub fn limited_to(&self, limit: u32) -> LimitedTarget<'_> {
        LimitedTarget { backend: &self.backend, limit, is_shared: self.provider.tenant_id.is_none() }
    }

    /// How many calls it may have under way now, for a request of this tenant for this model; `None` without a limit.
    pub fn limit_in_force(
        &self,
        tables: &Tables,
        tenant: Option<TenantId>,
        model: ModelId,
        now: DateTime<Utc>,
    ) -> Option<u32> {
        let Backend { provider_id, model: name, .. } = &self.backend;
        let in_force = || {
            let model = &tables.model(model)?.value;
            let row = model.targets.iter().find(|row| row.provider_id == *provider_id && row.model == *name)?;
            Some(tables.known_target(tenant, model, row, now, Requirements::NONE).offer?.limits.max_concurrent)
        };
        in_force().unwrap_or(self.limits.max_concurrent)
    }

    pub fn upstream(&self) -> &'static Upstream {
        provider_dialects::of(self.kind)
    }

    /// The prices that it is billed at.
    pub fn tariff(&self) -> &Tariff {
        &self.price.tariff
    }

    pub fn allowed_fields(&self) -> &BTreeSet<String> {
        self.allowed_for_price.as_ref().unwrap_or(&self.provider.allowed_fields)
    }

    /// The refusal for its failure, with the name of its provider.
    pub fn named_in(&self, refusal: Refusal) -> Refusal {
        match refusal.code {
            ErrorCode::UpstreamError => refusal.with("provider", &*self.provider.name),
            _ => refusal,
        }
    }

    /// Returns the terms by which its usage is measured.
    pub fn usage_terms(&self) -> UsageTerms<'_> {
        UsageTerms {
            tariff: self.tariff(),
            context_window: self.limits.context_window,
            input_tokens_believed: self.limits.input_tokens_believed,
            output_tokens_believed: self.limits.output_tokens_believed,
        }
    }

    /// Returns the input with which a dialect writes this target's body for embeddings.
    pub fn of_embeddings(&self) -> EmbeddingsTarget<'_> {
        EmbeddingsTarget { model: &self.backend.model, allowed_fields: self.allowed_fields() }
    }

    /// The output cap that this target is sent.
    pub fn cap_sent(&self, cap: OutputCap) -> u64 {
        cap.sent_to(self.limits.max_output_tokens)
    }

    /// Returns the input with which a dialect writes this target's body.
    pub fn outbound<'a>(&'a self, cap: OutputCap, system_prefix: Option<&'a str>) -> OutboundTarget<'a> {
        OutboundTarget {
            model: &self.backend.model,
            output_cap: UpstreamCap { tokens: self.cap_sent(cap), field: self.provider.given_output_cap_field() },
            context_window: self.limits.context_window,
            system_prefix,
            allowed_fields: self.allowed_fields(),
            server: self.server,
            refused: self.limits.refused_parameters,
            takes_signed_thoughts_alone: provider_dialects::takes_signed_thoughts_alone(&self.provider),
        }
    }
}

/// The provider's allowed fields, and those of the request's others whose cost is known from the price: a service tier, and a
/// lifetime of caches, if responses report it. `None` if there is nothing to add.
pub fn allowed_for_price(unpriced: &[Unpriced], Offer { provider, price, .. }: Offer<'_>) -> Option<BTreeSet<String>> {
    // Nearly all requests.
    if unpriced.is_empty() {
        return None;
    }
    let tariff = &price.value.tariff;
    let tier = facts::service_tier(unpriced).filter(|tier| tariff.has_tier(*tier)).map(|_| SERVICE_TIER);
    let reports_lifetimes = || {
        let kind = ProviderKind::named(&provider.kind);
        kind.is_some_and(|kind| provider_dialects::for_model(kind, &price.value.model).reports_cache_lifetimes)
    };
    let cache = facts::long_cache(unpriced).filter(|rate| tariff.gives(*rate) && reports_lifetimes());
    let known: Vec<&str> = tier.into_iter().chain(cache.map(|_| CACHE_CONTROL)).collect();
    let all = || provider.allowed_fields.iter().cloned().chain(known.iter().map(|name| (*name).to_owned())).collect();
    (!known.is_empty()).then(all)
}

/// Warns of every provider that this version cannot call, because a later one recorded its kind.
pub fn warn_of_unknown_kinds(tables: &Tables) {
    for entry in tables.providers().filter(|entry| entry.is_live()) {
        let Provider { provider_id, name, kind, .. } = &*entry.value;
        if ProviderKind::named(kind).is_none() {
            tracing::warn!(%provider_id, name, %kind, "a provider is not called: this version does not know its kind");
        }
    }
}
