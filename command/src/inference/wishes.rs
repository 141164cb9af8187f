//! What a request asks of its routing by headers, which every surface takes: the body of most surfaces has no room for it.

use events::refusal::Refusal;
use events::routing::Strategy;
use events::terms::{Region, RequiredTerms};
use http::{HeaderMap, HeaderName};

/// The beginning of the gateway's own headers.
const OWN_PREFIX: &str = "x-ledgerway-";

pub const RESIDENCY_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-residency");
pub const ZERO_RETENTION_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-zero-retention");
pub const STRATEGY_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-strategy");
pub const TRAINING_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-training");

/// The wishes in the headers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestWishes {
    pub terms: RequiredTerms,
    pub strategy: Option<Strategy>,
}

impl RequestWishes {
    /// Errors: `INVALID_REQUEST` for a header that occurs twice, or has a value that it cannot have.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        // Few requests have any, and one look at each name is cheaper than to look for each of these.
        if !headers.keys().any(|name| name.as_str().starts_with(OWN_PREFIX)) {
            return Ok(Self::default());
        }
        let region = |text: &str| text.parse::<Region>();
        let terms = RequiredTerms {
            residency: read(headers, &RESIDENCY_HEADER, region)?,
            zero_retention: read(headers, &ZERO_RETENTION_HEADER, boolean)?.unwrap_or(false),
            training: read(headers, &TRAINING_HEADER, boolean)?.unwrap_or(true),
        };
        Ok(Self { terms, strategy: read(headers, &STRATEGY_HEADER, strategy)? })
    }
}

/// What the body and the headers of a request require together.
///
/// Errors: `INVALID_REQUEST` if no target can be where both want it.
pub fn terms_of_both(body: RequiredTerms, headers: RequiredTerms) -> Result<RequiredTerms, Refusal> {
    if headers.is_empty() {
        return Ok(body);
    }
    body.and(headers).ok_or_else(|| {
        Refusal::invalid(RESIDENCY_HEADER.as_str(), "contradicts terms.residency of the body: no region is within both")
    })
}

fn strategy(text: &str) -> Result<Strategy, &'static str> {
    let named = Strategy::OF_RULES.iter().find(|(word, _)| *word == text).map(|(_, strategy)| *strategy);
    named.ok_or("must be priority, weighted, cost, latency, performance, balanced or quality")
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "must be true or false")
}

fn read<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Option<T>, Refusal> {
    let refuse = |reason: &str| Refusal::invalid(name.as_str(), reason);
    let mut given = headers.get_all(name).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refuse("must occur once"));
    }
    // What is no text is nothing that any of them can be.
    let value = value.to_str().unwrap_or_default();
    parse(value).map(Some).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn read(given: &[(&'static str, &'static [u8])]) -> Result<RequestWishes, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a value"));
        }
        RequestWishes::of(&headers).map_err(|refusal| refusal.details["field"].as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn terms_are_read_once_and_as_they_are() {
        let all: [(&str, &[u8]); 3] = [
            ("x-ledgerway-residency", b"eu"),
            ("x-ledgerway-zero-retention", b"true"),
            ("x-ledgerway-training", b"false"),
        ];
        let wishes = read(&all).expect("wishes");
        assert_eq!(json!(wishes.terms), json!({ "residency": "eu", "zero_retention": true, "training": false }));
        assert_eq!(read(&[("x-ledgerway-training", b"true"), ("accept", b"*/*")]), Ok(RequestWishes::default()));
        for (name, value) in [
            ("x-ledgerway-residency", &b"EU"[..]),
            ("x-ledgerway-residency", b""),
            ("x-ledgerway-residency", b"\xff"),
            ("x-ledgerway-zero-retention", b"yes"),
            ("x-ledgerway-training", b"0"),
            ("x-ledgerway-strategy", b"rules"),
            ("x-ledgerway-strategy", b"tenant_default"),
        ] {
            assert_eq!(read(&[(name, value)]), Err(name.to_owned()));
        }
        let twice = [("x-ledgerway-residency", &b"eu"[..]), ("x-ledgerway-residency", b"us")];
        assert_eq!(read(&twice), Err("x-ledgerway-residency".to_owned()));
    }

    #[test]
    fn a_strategy_has_the_words_that_rules_have() {
        for (word, strategy) in
            [("cost", Strategy::Cost), ("latency", Strategy::Latency), ("performance", Strategy::Latency)]
        {
            let wishes = read(&[("x-ledgerway-strategy", word.as_bytes())]).expect("a wish");
            assert_eq!(wishes.strategy, Some(strategy));
        }
    }

    #[test]
    fn body_and_headers_require_together_what_each_does() {
        let residency =
            |region: &str| RequiredTerms { residency: Some(region.parse().expect("a region")), ..RequiredTerms::NONE };
        assert_eq!(terms_of_both(residency("eu"), residency("eu-west-1")).ok(), Some(residency("eu-west-1")));
        assert_eq!(terms_of_both(residency("eu"), RequiredTerms::NONE).ok(), Some(residency("eu")));
        assert!(terms_of_both(residency("eu"), residency("us")).is_err());
    }
}
