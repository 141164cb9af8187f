//! The parts of a request that the decision of its route saw. The admission records a digest of them.

use serde::Serialize;

use super::{Features, RequestFeatures, RouteQuestion};
use crate::abilities::AbilitySet;
use crate::compact_json;
use crate::content::ContentSalt;
use crate::money::TokenRate;
use crate::usage::ServiceTier;

/// Hexadecimal digits that are kept of the digest.
const DIGITS: usize = 32;
/// The bytes of what is digested of most requests.
const USUAL_BYTES: usize = 128;

/// The parts of a request that its route depends on, beside its tenant, its session, its terms and its time. Counts of tokens by
/// tokenizer are not among them.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    abilities: AbilitySet,
    choices: u64,
    documents: bool,
    fields: SeenFields,
    images: u64,
    input_tokens: u64,
    output_cap: Option<u64>,
    service_tier: Option<ServiceTier>,
}

/// The fields by which the dialects of targets are judged, beside those that strategies and rules go by.
#[derive(Clone, Debug, Default)]
pub struct SeenFields {
    /// Names of fields that change the cost.
    pub unpriced: Vec<&'static str>,
    /// The price of writing to the cache for the lifetime that is asked for, if a price can have it.
    pub cache_write: Option<TokenRate>,
    /// Whether it has documents that a server may have read by another service.
    pub has_files: bool,
}

impl SeenRequest {
    pub fn of(question: &RouteQuestion<'_>, features: &Features, mut fields: SeenFields) -> Self {
        // A new part of either has to be thought of here: docs/routing.md lists what is digested.
        let RouteQuestion { now: _, rule: _, required: _, needs, output_cap, has_documents } = *question;
        let Features { request: _, prompt, choices, output_tokens: _ } = *features;
        fields.unpriced.sort_unstable();
        fields.unpriced.dedup();
        Self {
            abilities: needs,
            choices,
            documents: has_documents,
            fields,
            images: prompt.images,
            input_tokens: prompt.tokens,
            output_cap,
            service_tier: prompt.service_tier,
        }
    }

    /// The first digits of SHA-256 of the request's salt and of what was seen as canonical JSON (RFC 8785). `features` are those that
    /// rules went by, of a model that has some.
    pub fn digest(&self, features: Option<&RequestFeatures>, salt: &ContentSalt) -> Option<String> {
        let mut json = Vec::with_capacity(USUAL_BYTES);
        compact_json::write(&mut json, &self.with(features)).ok()?;
        let mut digest = salt.digest(&json);
        digest.truncate(DIGITS);
        Some(digest)
    }

    fn with<'a>(&'a self, features: Option<&'a RequestFeatures>) -> Digested<'a> {
        let Self { abilities, choices, documents, ref fields, images, input_tokens, output_cap, service_tier } = *self;
        let SeenFields { ref unpriced, cache_write, has_files: files } = *fields;
        Digested {
            abilities,
            cache_write,
            choices,
            documents,
            features,
            files,
            images,
            input_tokens,
            output_cap,
            service_tier,
            unpriced,
        }
    }
}

/// The form that is digested, in the order of the names. A member is left out while it has its usual value, so that digests of other
/// requests stay the same when one is added.
#[derive(Serialize)]
struct Digested<'a> {
    abilities: AbilitySet,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<TokenRate>,
    #[serde(skip_serializing_if = "is_one")]
    choices: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    documents: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<&'a RequestFeatures>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    files: bool,
    #[serde(skip_serializing_if = "is_zero")]
    images: u64,
    input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_cap: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<ServiceTier>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unpriced: &'a [&'static str],
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
    use chrono::DateTime;

    use super::*;
    use crate::abilities::Ability;
    use crate::canonical;
    use crate::content::ContentSalts;
    use crate::ids::RequestId;
    use crate::money::PromptBound;
    use crate::routing::RequestType;
    use crate::terms::Requirements;

    fn seen(needs: &[Ability], more: &[&'static str]) -> SeenRequest {
        let is_plain = more.is_empty();
        let question = RouteQuestion {
            needs: needs.iter().copied().collect(),
            output_cap: Some(16),
            has_documents: !is_plain,
            ..RouteQuestion::of_none(DateTime::UNIX_EPOCH, Requirements::NONE)
        };
        let service_tier = (!is_plain).then_some(ServiceTier::Flex);
        let prompt = PromptBound { tokens: 12, images: 2, service_tier };
        let features = Features { prompt, choices: if is_plain { 1 } else { 3 }, ..Features::default() };
        let cache_write = (!is_plain).then_some(TokenRate::CacheWrite1h);
        SeenRequest::of(&question, &features, SeenFields { unpriced: more.to_vec(), cache_write, has_files: !is_plain })
    }

    /// So that other programs can compute it.
    #[test]
    fn the_digest_is_of_the_salt_and_of_canonical_json() {
        let json = r#"{"abilities":["text","image","chat"],"images":2,"input_tokens":12,"output_cap":16}"#;
        let salt = ContentSalts::new(&[7; 32]).salt(RequestId::from(uuid::Uuid::from_u128(1)));
        let digest = seen(&[Ability::Chat, Ability::Text, Ability::Image], &[]).digest(None, &salt);
        assert_eq!(digest.as_deref(), Some(&salt.digest(json.as_bytes())[..DIGITS]));
    }

    #[test]
    fn all_of_it_is_in_the_order_of_canonical_json() {
        let features = RequestFeatures {
            complexity: 1,
            documents: 2,
            hour: 3,
            images: 4,
            input_tokens: 5,
            language: "de".to_owned(),
            request_type: RequestType::Chat,
            streaming: true,
            structured_output: false,
            tools: true,
        };
        let all = seen(&[Ability::Text], &["speed", "cache_control"]);
        let mut compact = Vec::new();
        compact_json::write(&mut compact, &all.with(Some(&features))).expect("JSON");
        let value: serde_json::Value = serde_json::from_slice(&compact).expect("JSON");
        assert_eq!(canonical::to_string(&value).expect("JSON").as_bytes(), compact);
        let members: Vec<_> = value.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(
            members,
            [
                "abilities", "cache_write", "choices", "documents", "features", "files", "images", "input_tokens",
                "output_cap", "service_tier", "unpriced"
            ]
        );
    }
}
