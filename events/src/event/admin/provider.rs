//! Providers: the addresses that requests are sent to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Labels, Origin, ProviderKindName, ServerName};
use crate::event::Shown;
use crate::ids::{ProviderId, TenantId};
use crate::maintenance::MaintenanceWindows;
use crate::named;

/// An upstream. Its API key is sealed in a side table or in the gateway's environment, never here, and so are the values of its
/// secret headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    pub provider_id: ProviderId,
    pub name: String,
    pub kind: ProviderKindName,
    /// Without the path of an endpoint; absent for the simulator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The tenant that brought it, and that alone it serves; absent if it serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    pub allow_private_network: bool,
    /// The longest wait for the first byte of an answer.
    pub timeout_ms: u64,
    /// The longest wait between bytes of an answer.
    pub idle_timeout_ms: u64,
    /// Sent with every request. Never credentials, which belong in the sealed key or headers.
    pub headers: BTreeMap<String, String>,
    /// The names of the headers whose values are sealed. None of them is in `headers`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret_header_names: BTreeSet<String>,
    /// Rises with every new set of sealed headers, so that every node reads them again.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub headers_generation: u32,
    /// The field in which the output cap goes upstream. It defaults to `max_tokens`, and the default yields to the client's
    /// own name for its cap: see [`Provider::given_output_cap_field`].
    pub output_cap_field: OutputCapField,
    /// True if `output_cap_field` was given. Events of 0.1.0 do not record it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_cap_field_given: bool,
    /// The measure that it bills calls by.
    #[serde(default, skip_serializing_if = "named::is_default")]
    pub billed_by: BilledBy,
    /// Fields of OpenAI's surface that change the cost of a request and may still be sent to this provider: whoever allows
    /// one vouches for its price.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub allowed_fields: BTreeSet<String>,
    /// The version of the API, where an address has several: Azure's `api-version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The server behind an OpenAI-compatible address, whose deviations from OpenAI are known; absent if it follows from
    /// the host of `base_url`, or is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// The region that requests are signed for; absent if it is in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// True if its server is asked for its models, which all tenants can then use at no cost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discover_models: bool,
    /// Its origin; absent if a command created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The variable of the environment that has its API key; absent if the key, if any, is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_variable: Option<String>,
    /// When none of its models is called.
    #[serde(default, skip_serializing_if = "MaintenanceWindows::is_empty")]
    pub maintenance: MaintenanceWindows,
    /// Rises with every new API key, so that every node reads the key again.
    pub secret_generation: u32,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

impl Provider {
    /// The default of `timeout_ms`.
    pub const TIMEOUT_MS: u64 = 120_000;
    /// The default of `idle_timeout_ms`.
    pub const IDLE_TIMEOUT_MS: u64 = 30_000;

    /// A provider that all tenants share, without an address or an API key.
    pub fn new(provider_id: ProviderId, name: impl Into<String>, kind: impl Into<ProviderKindName>) -> Self {
        Self {
            provider_id,
            name: name.into(),
            kind: kind.into(),
            base_url: None,
            tenant_id: None,
            allow_private_network: false,
            timeout_ms: Self::TIMEOUT_MS,
            idle_timeout_ms: Self::IDLE_TIMEOUT_MS,
            headers: BTreeMap::new(),
            secret_header_names: BTreeSet::new(),
            headers_generation: 0,
            output_cap_field: OutputCapField::default(),
            output_cap_field_given: false,
            billed_by: BilledBy::default(),
            allowed_fields: BTreeSet::new(),
            api_version: None,
            server: None,
            region: None,
            discover_models: false,
            origin: None,
            key_variable: None,
            maintenance: MaintenanceWindows::default(),
            secret_generation: 0,
            labels: Labels::none(),
        }
    }

    /// The only field that the upstream is known to accept for the output cap; `None` if the operator gave none. In events
    /// that do not record whether it was given, a value other than the default was.
    pub fn given_output_cap_field(&self) -> Option<OutputCapField> {
        let was_given = self.output_cap_field_given || self.output_cap_field != OutputCapField::default();
        was_given.then_some(self.output_cap_field)
    }

    /// Whether a call that nobody waits for is better cancelled than read to its end. A local server whose models cost nothing is
    /// such a provider, too.
    pub fn bills_by_time(&self) -> bool {
        self.billed_by == BilledBy::Time || self.discover_models
    }
}

impl Shown for Provider {
    const HIDDEN: &'static [&'static str] = &["secret_generation", "headers_generation"];

    fn left_out() -> Value {
        json!({ "base_url": null, "tenant_id": null, "secret_header_names": [], "output_cap_field_given": false, "billed_by": "tokens", "allowed_fields": [], "api_version": null, "server": null, "region": null, "discover_models": false, "origin": null, "key_variable": null, "maintenance": [], "labels": {} })
    }

    fn in_full(&self) -> Self {
        Self { output_cap_field_given: self.given_output_cap_field().is_some(), ..self.clone() }
    }
}

named! {
    /// The measure that a provider bills calls by.
    #[derive(Default)]
    pub enum BilledBy {
        #[default]
        Tokens = "tokens",
        /// The time that a call takes: its own hardware, for one.
        Time = "time",
    }
}

named! {
    #[derive(Default)]
    pub enum OutputCapField {
        #[default]
        MaxTokens = "max_tokens",
        MaxCompletionTokens = "max_completion_tokens",
    }
}
