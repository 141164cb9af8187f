//! What a request asks of its routing by headers, which every surface takes: the body of most surfaces has no room for it.

use events::nearest_name::nearest_name;
use events::refusal::Refusal;
use events::routing::Strategy;
use events::terms::{Region, RequiredTerms};
use http::{HeaderMap, HeaderName};

/// The beginning of the gateway's own headers.
const OWN_PREFIX: &str = "x-ledgerway-";
/// All of them that requests can have, without their beginning.
const KNOWN: [&str; 6] = ["priority", "residency", "session", "strategy", "training", "zero-retention"];
/// How much of an unknown one a refusal shows.
const SHOWN_CHARS_MAX: usize = 64;

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
    /// Errors: `INVALID_REQUEST` for a header that occurs twice, has a value that it cannot have, or is unknown.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        // Few requests have any, and one look at each name is cheaper than to look for each of these.
        let mut own = headers.keys().filter_map(|name| name.as_str().strip_prefix(OWN_PREFIX)).peekable();
        if own.peek().is_none() {
            return Ok(Self::default());
        }
        own.try_for_each(must_be_known)?;
        let region = |text: &str| text.parse::<Region>();
        let terms = RequiredTerms {
            residency: read(headers, &RESIDENCY_HEADER, region)?,
            zero_retention: read(headers, &ZERO_RETENTION_HEADER, boolean)?.unwrap_or(false),
            training: read(headers, &TRAINING_HEADER, boolean)?.unwrap_or(true),
        };
        Ok(Self { terms, strategy: read(headers, &STRATEGY_HEADER, strategy)? })
    }
}

/// A misspelt header must not leave a request without the term that it asks for.
fn must_be_known(name: &str) -> Result<(), Refusal> {
    if KNOWN.contains(&name) {
        return Ok(());
    }
    let nearest =
        nearest_name(name, KNOWN).map_or_else(String::new, |known| format!("; did you mean {OWN_PREFIX}{known}?"));
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    Err(Refusal::invalid(format!("{OWN_PREFIX}{shown}"), format!("is no header of requests{nearest}")))
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

    use super::super::headers::PRIORITY_HEADER;
    use super::super::session::SESSION_HEADER;
    use super::super::target_places::Priority;
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
    fn an_unknown_header_of_the_gateway_is_refused_with_the_nearest_one() {
        for name in [RESIDENCY_HEADER, ZERO_RETENTION_HEADER, STRATEGY_HEADER, TRAINING_HEADER, PRIORITY_HEADER] {
            assert_eq!(must_be_known(name.as_str().strip_prefix(OWN_PREFIX).expect("own")).ok(), Some(()));
        }
        assert_eq!(must_be_known(SESSION_HEADER.strip_prefix(OWN_PREFIX).expect("own")).ok(), Some(()));
        let refused = |name: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("true"))]);
            RequestWishes::of(&headers).expect_err(name).message
        };
        assert!(refused("x-ledgerway-zero-retntion").ends_with("did you mean x-ledgerway-zero-retention?"));
        assert!(refused("x-ledgerway-colour").ends_with("is no header of requests"));
    }

    #[test]
    fn two_priorities_are_refused() {
        let of = |values: &[&'static str]| {
            let named = values.iter().map(|value| (PRIORITY_HEADER, HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            named.for_each(|(name, value)| _ = headers.append(name, value));
            Priority::of(&headers).ok()
        };
        assert_eq!((of(&[]), of(&["batch"])), (Some(Priority::Interactive), Some(Priority::Batch)));
        assert_eq!((of(&["batch", "interactive"]), of(&["batch", "batch"])), (None, None));
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
