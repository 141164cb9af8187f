//! A target that may serve a request.

use std::sync::Arc;

use dialects::upstreams::{self, Upstream};
use dialects::{CapField, OutboundTarget};
use events::event::admin::{OutputCapField, Provider, Tokenizer};
use events::event::inference::Backend;
use events::money::Rates;

/// With the price that it would be billed at.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    pub provider: Arc<Provider>,
    pub backend: Backend,
    /// `provider/model`, as the client is told.
    pub name: String,
    pub rates: Rates,
    pub price_version: u64,
    /// Goes upstream: never above what was admitted, nor above what the target takes.
    pub max_output_tokens: u64,
    /// What it is known to count with.
    pub tokenizer: Option<Tokenizer>,
}

impl PlannedTarget {
    pub fn upstream(&self) -> &'static Upstream {
        upstreams::of(self.provider.kind)
    }

    /// What is needed to write its body.
    pub fn outbound<'a>(&'a self, system_prefix: Option<&'a str>) -> OutboundTarget<'a> {
        OutboundTarget {
            model: &self.backend.model,
            max_output_tokens: self.max_output_tokens,
            cap_field: self.provider.given_output_cap_field().map(|field| match field {
                OutputCapField::MaxTokens => CapField::MaxTokens,
                OutputCapField::MaxCompletionTokens => CapField::MaxCompletionTokens,
            }),
            system_prefix,
            allowed_fields: &self.provider.allowed_fields,
        }
    }
}
