//! A target that may serve a request.

use std::sync::Arc;

use dialects::upstreams::{self, Upstream};
use dialects::{EmbeddingsTarget, OutboundTarget, ProviderKind, Server, UpstreamCap};
use events::event::admin::{Provider, Target, Tokenizer};
use events::event::inference::Backend;
use events::money::Rates;
use events::output_cap::OutputCap;
use projections::tables::{Offer, Tables};

/// A target, with its provider and the price that it would be billed at.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    pub provider: Arc<Provider>,
    /// The provider's own `kind` is only a name.
    pub kind: ProviderKind,
    pub backend: Backend,
    /// `provider/model`, as clients see it.
    pub name: String,
    pub rates: Rates,
    pub price_version: u64,
    /// The highest output cap that it accepts.
    output_tokens_max: Option<u64>,
    pub context_window: Option<u64>,
    /// The server whose deviations from its dialect are known.
    server: Option<Server>,
    /// The tokenizer that it is known to use.
    pub tokenizer: Option<Tokenizer>,
}

/// What the usage at a target is measured by.
#[derive(Clone, Copy)]
pub struct UsageTerms<'a> {
    pub rates: &'a Rates,
    pub context_window: Option<u64>,
}

impl PlannedTarget {
    pub fn of(kind: ProviderKind, target: &Target, Offer { provider, price }: Offer<'_>) -> Self {
        Self {
            name: [&provider.name, "/", &target.model].concat(),
            provider: Arc::clone(provider),
            kind,
            backend: Backend {
                provider_id: target.provider_id,
                provider: provider.name.clone(),
                model: target.model.clone(),
            },
            rates: price.value.rates,
            price_version: price.version,
            tokenizer: target.tokenizer.filter(|_| upstreams::of(kind).has_tokenizers),
            output_tokens_max: target.max_output_tokens,
            context_window: target.context_window,
            server: upstreams::server_of(provider),
        }
    }

    pub fn upstream(&self) -> &'static Upstream {
        upstreams::of(self.kind)
    }

    /// What its usage is measured by.
    pub const fn usage_terms(&self) -> UsageTerms<'_> {
        UsageTerms { rates: &self.rates, context_window: self.context_window }
    }

    /// What a dialect needs to write this target's body for embeddings.
    pub fn of_embeddings(&self) -> EmbeddingsTarget<'_> {
        EmbeddingsTarget { model: &self.backend.model, allowed_fields: &self.provider.allowed_fields }
    }

    /// What a dialect needs to write this target's body.
    pub fn outbound<'a>(&'a self, cap: OutputCap, system_prefix: Option<&'a str>) -> OutboundTarget<'a> {
        OutboundTarget {
            model: &self.backend.model,
            output_cap: UpstreamCap {
                tokens: cap.sent_to(self.output_tokens_max),
                field: self.provider.given_output_cap_field(),
            },
            context_window: self.context_window,
            system_prefix,
            allowed_fields: &self.provider.allowed_fields,
            server: self.server,
            takes_signed_thoughts_alone: upstreams::takes_signed_thoughts_alone(&self.provider),
        }
    }
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
