//! Further API keys of a provider, and what the gateway records about any key that a provider does not accept.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::{Shown, Stream, StreamKind};
use crate::ids::{ProviderId, ProviderKeyId};
use crate::limit::Measure;
use crate::named;

/// One of several API keys of a provider. Its secret is sealed in a side table, never here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKey {
    pub provider_key_id: ProviderKeyId,
    pub provider_id: ProviderId,
    pub name: String,
    /// Its share of the requests, relative to the weights of the provider's other keys.
    pub weight: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u64>,
    /// The provider's address when the secret was given. The secret is sent to no other scheme, host or port.
    pub given_for: String,
    /// Rises with every new secret, so that every node reads it again.
    pub secret_generation: u32,
}

impl ProviderKey {
    /// The weight of a key that is created without one, and of a provider's own key.
    pub const WEIGHT: u32 = 1;

    /// Its limits.
    pub fn bounds(&self) -> impl Iterator<Item = (Measure, u64)> {
        let bounds = [
            (Measure::RequestsPerMinute, self.requests_per_minute),
            (Measure::TokensPerMinute, self.tokens_per_minute),
            (Measure::ConcurrentRequests, self.concurrent_requests),
        ];
        bounds.into_iter().filter_map(|(measure, bound)| Some((measure, bound?)))
    }
}

impl Shown for ProviderKey {
    const HIDDEN: &'static [&'static str] = &["given_for", "secret_generation"];
    const NULLABLE: &'static [&'static str] = &["requests_per_minute", "tokens_per_minute", "concurrent_requests"];
}

/// A key that requests to a provider are authenticated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamKey {
    /// The provider's own.
    Own(ProviderId),
    /// One of its provider keys.
    Further(ProviderKeyId),
}

impl UpstreamKey {
    /// The id of a provider key; `None` for the provider's own key.
    pub const fn provider_key_id(self) -> Option<ProviderKeyId> {
        match self {
            Self::Own(_) => None,
            Self::Further(id) => Some(id),
        }
    }

    /// The stream on which it is set aside and restored.
    pub fn stream(self) -> Stream {
        Stream::new(StreamKind::ProviderKey, self)
    }
}

/// The id of the provider key, or of the provider. Sealed secrets are stored under it.
impl fmt::Display for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(id) => fmt::Display::fmt(id, f),
            Self::Further(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl From<ProviderId> for UpstreamKey {
    fn from(id: ProviderId) -> Self {
        Self::Own(id)
    }
}

impl From<ProviderKeyId> for UpstreamKey {
    fn from(id: ProviderKeyId) -> Self {
        Self::Further(id)
    }
}

named! {
    /// Why a provider does not accept a key.
    pub enum SetAsideReason {
        /// The key itself is not valid, or no longer.
        Refused = "refused",
        /// Its account has no money left, or has reached a spend limit.
        OutOfMoney = "out_of_money",
    }
}

/// A provider with provider keys did not accept one of its keys, which is used only if no other is left until it is restored,
/// or has a new secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKeySetAside {
    pub provider_id: ProviderId,
    /// Absent for the provider's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_key_id: Option<ProviderKeyId>,
    pub reason: SetAsideReason,
    /// The HTTP status of the refusal.
    pub status: u16,
    /// The secret that was refused: a later one is in use.
    pub secret_generation: u32,
}

impl ProviderKeySetAside {
    /// The key, whose id is that of the stream.
    pub fn stream_id(&self) -> UpstreamKey {
        key(self.provider_id, self.provider_key_id)
    }
}

/// A provider has accepted a key that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKeyRestored {
    pub provider_id: ProviderId,
    /// Absent for the provider's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_key_id: Option<ProviderKeyId>,
}

impl ProviderKeyRestored {
    /// The key, whose id is that of the stream.
    pub fn stream_id(&self) -> UpstreamKey {
        key(self.provider_id, self.provider_key_id)
    }
}

fn key(provider: ProviderId, further: Option<ProviderKeyId>) -> UpstreamKey {
    further.map_or(UpstreamKey::Own(provider), UpstreamKey::Further)
}
