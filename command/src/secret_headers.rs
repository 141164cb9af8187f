//! The headers of a provider that are credentials: sealed together, and sent after its other headers.

use std::collections::BTreeMap;

use events::event::admin::Provider;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrets::{Secret, SecretId, Vault, VaultError};
use serde_json::json;

/// The secret headers of a provider. Most have none.
#[derive(Clone, Debug, Default)]
pub struct SecretHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecretHeaders {
    /// Those that the provider's row names.
    ///
    /// Errors: those of [`Vault::open`]; the vault has none.
    pub async fn of(vault: &Vault, provider: &Provider) -> Result<Self, VaultError> {
        if provider.secret_header_names.is_empty() {
            return Ok(Self::default());
        }
        let id = SecretId::Headers(provider.provider_id);
        // In a box, so that the futures of providers without any stay small.
        let sealed = Box::pin(vault.open(provider.tenant_id, id, provider.headers_generation)).await?;
        let headers = sealed.and_then(|sealed| Self::read(&sealed));
        headers.ok_or_else(|| VaultError::Unopenable { subject: id.to_string() })
    }

    /// The text that the vault seals: a JSON object.
    pub fn to_be_sealed(headers: &BTreeMap<String, String>) -> Secret {
        Secret::new(json!(headers).to_string())
    }

    fn read(sealed: &Secret) -> Option<Self> {
        let headers: BTreeMap<String, String> = serde_json::from_str(sealed.reveal()).ok()?;
        let headers = headers.into_iter().map(|(name, value)| {
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::try_from(name).ok()?, value))
        });
        headers.collect::<Option<Vec<_>>>().map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values, to find them where an upstream repeats them.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(_, value)| value.to_str().ok())
    }

    pub fn put_into(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The header `x-gateway-auth` with this value.
    pub fn of_one(value: &str) -> SecretHeaders {
        let headers = [("x-gateway-auth".to_owned(), value.to_owned())].into();
        SecretHeaders::read(&SecretHeaders::to_be_sealed(&headers)).expect("headers")
    }

    #[test]
    fn what_is_sealed_is_read_back_and_shown_by_nobody() {
        let headers = of_one("Bearer abc");
        assert!(!headers.is_empty() && SecretHeaders::default().is_empty());
        assert_eq!(headers.values().collect::<Vec<_>>(), ["Bearer abc"]);
        let mut sent =
            HeaderMap::from_iter([(HeaderName::from_static("x-gateway-auth"), HeaderValue::from_static("a"))]);
        headers.put_into(&mut sent);
        assert_eq!((sent.len(), &sent["x-gateway-auth"]), (1, &HeaderValue::from_static("Bearer abc")));
        assert!(!format!("{headers:?} {sent:?}").contains("abc"));
        assert!(SecretHeaders::read(&Secret::new("{\"a b\":\"c\"}")).is_none());
    }
}
