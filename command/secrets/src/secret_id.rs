//! The ids of sealed secrets. Their texts are the subjects of the rows that have the secrets.

use std::collections::BTreeSet;
use std::fmt;

use events::event::admin::UpstreamKey;
use events::ids::{ProviderId, ProviderKeyId};

/// Follows the id of a provider whose headers are sealed.
const HEADERS: &str = "#headers";

/// A secret of a provider that the vault seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretId {
    Key(UpstreamKey),
    /// The names and values of its secret headers, all together.
    Headers(ProviderId),
}

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => fmt::Display::fmt(key, f),
            Self::Headers(provider) => write!(f, "{provider}{HEADERS}"),
        }
    }
}

impl From<UpstreamKey> for SecretId {
    fn from(key: UpstreamKey) -> Self {
        Self::Key(key)
    }
}

impl From<ProviderId> for SecretId {
    fn from(id: ProviderId) -> Self {
        Self::Key(id.into())
    }
}

impl From<ProviderKeyId> for SecretId {
    fn from(id: ProviderKeyId) -> Self {
        Self::Key(id.into())
    }
}

/// The ids of the providers and provider keys whose secrets have these subjects, each once and in their order.
pub fn owners_of<'s>(subjects: impl Iterator<Item = &'s str>) -> Vec<String> {
    let owners: BTreeSet<&str> = subjects.map(|subject| subject.strip_suffix(HEADERS).unwrap_or(subject)).collect();
    owners.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_the_headers_of_a_provider_are_two_secrets_of_one_owner() {
        let provider: ProviderId = format!("prv_{:032x}", 1).parse().unwrap();
        let (key, headers) = (SecretId::from(provider).to_string(), SecretId::Headers(provider).to_string());
        assert_ne!(key, headers);
        let further = format!("pky_{:032x}", 1);
        let owners = owners_of([&*headers, &further, &key].into_iter());
        assert_eq!(owners, [further, provider.to_string()]);
    }
}
