//! The features of a request that the decision of its route saw, of which the admission records a digest.

use serde::Serialize;

use super::RequestFeatures;
use crate::abilities::AbilitySet;
use crate::compact_json;
use crate::content::ContentSalt;
use crate::usage::ServiceTier;

/// Hexadecimal digits that are kept of the digest.
const DIGITS: usize = 32;

/// The bytes of those of most requests.
const USUAL_BYTES: usize = 128;

/// Everything about a request itself that decides its route, beside its tenant, its session, its terms and its time. The names and their
/// order are those of docs/routing.md: whoever has the request and its salt can compute the digest.
#[derive(Clone, Debug, Serialize)]
pub struct SeenFeatures<'a> {
    /// The abilities that it needs.
    pub abilities: AbilitySet,
    #[serde(skip_serializing_if = "is_one")]
    pub choices: u64,
    /// Whether it has documents whose tokens nobody can count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub documents: bool,
    /// The features that rules go by; `None` if the model has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<&'a RequestFeatures>,
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// The estimate of its prompt's tokens.
    pub input_tokens: u64,
    /// The client's own output cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_cap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<ServiceTier>,
}

impl SeenFeatures<'_> {
    /// The first digits of SHA-256 of the request's salt and of the features as canonical JSON (RFC 8785): their names are in order.
    pub fn digest(&self, salt: &ContentSalt) -> Option<String> {
        let mut json = Vec::with_capacity(USUAL_BYTES);
        compact_json::write(&mut json, self).ok()?;
        let mut digest = salt.digest(&json);
        digest.truncate(DIGITS);
        Some(digest)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_one(count: &u64) -> bool {
    *count == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abilities::Ability;
    use crate::content::ContentSalts;
    use crate::ids::RequestId;

    /// So that other programs can compute it.
    #[test]
    fn the_digest_is_of_the_salt_and_of_canonical_json() {
        let seen = SeenFeatures {
            abilities: [Ability::Chat, Ability::Text, Ability::Image].into_iter().collect(),
            choices: 1,
            documents: false,
            features: None,
            images: 2,
            input_tokens: 12,
            output_cap: Some(16),
            service_tier: None,
        };
        let json = r#"{"abilities":["text","image","chat"],"images":2,"input_tokens":12,"output_cap":16}"#;
        let salt = ContentSalts::new(&[7; 32]).salt(RequestId::from(uuid::Uuid::from_u128(1)));
        assert_eq!(seen.digest(&salt).as_deref(), Some(&salt.digest(json.as_bytes())[..DIGITS]));
    }
}
