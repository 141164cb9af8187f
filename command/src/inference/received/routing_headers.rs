//! Routing options in the headers of a request, which every surface takes: the body of most surfaces has no room for
//! them.

use events::nearest_name::nearest_name;
use events::refusal::Refusal;
use events::routing::Strategy;
use events::terms::{Region, RequiredTerms};
use http::{HeaderMap, HeaderName};

use crate::inference::targets::target_places::Priority;

/// The beginning of the gateway's own headers.
const OWN_PREFIX: &str = "x-ledgerway-";
/// All of them that requests can have.
static KNOWN: [&HeaderName; 6] =
    [&PRIORITY_HEADER, &RESIDENCY_HEADER, &SESSION_HEADER, &STRATEGY_HEADER, &TRAINING_HEADER, &ZERO_RETENTION_HEADER];
/// How much of an unknown one a refusal shows.
const SHOWN_CHARS_MAX: usize = 64;
const SESSION_LEN_MAX: usize = 256;

pub static PRIORITY_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-priority");
pub static RESIDENCY_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-residency");
pub static SESSION_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-session");
pub static STRATEGY_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-strategy");
pub static TRAINING_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-training");
pub static ZERO_RETENTION_HEADER: HeaderName = HeaderName::from_static("x-ledgerway-zero-retention");

/// The routing options of a request's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingHeaders {
    /// The priority with which requests that wait for a target are served.
    pub priority: Priority,
    /// The session that it belongs to, for models whose targets are chosen by it.
    pub session: Option<String>,
    pub strategy: Option<Strategy>,
    pub terms: RequiredTerms,
}

impl RoutingHeaders {
    /// Errors: `INVALID_REQUEST` for a header that occurs twice, has a value that it cannot have, or is unknown.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        // Few requests have any, and one look at each name is cheaper than to look for each of these.
        let is_own = |name: &&HeaderName| name.as_str().starts_with(OWN_PREFIX);
        let mut own = headers.keys().filter(is_own).peekable();
        if own.peek().is_none() {
            return Ok(Self::default());
        }
        own.try_for_each(must_be_known)?;
        let region = |text: &str| text.parse::<Region>().map_err(str::to_owned);
        let terms = RequiredTerms {
            residency: read(headers, &RESIDENCY_HEADER, region)?,
            zero_retention: read(headers, &ZERO_RETENTION_HEADER, boolean)?.unwrap_or(false),
            training: read(headers, &TRAINING_HEADER, boolean)?.unwrap_or(true),
        };
        Ok(Self {
            priority: read(headers, &PRIORITY_HEADER, priority)?.unwrap_or_default(),
            session: read(headers, &SESSION_HEADER, session)?,
            strategy: read(headers, &STRATEGY_HEADER, strategy)?,
            terms,
        })
    }
}

/// A misspelt header must not leave a request without the term that it asks for.
fn must_be_known(name: &HeaderName) -> Result<(), Refusal> {
    if KNOWN.contains(&name) {
        return Ok(());
    }
    let known = KNOWN.iter().map(|known| known.as_str());
    let nearest =
        nearest_name(name.as_str(), known).map_or_else(String::new, |known| format!("; did you mean {known}?"));
    let shown: String = name.as_str().chars().take(SHOWN_CHARS_MAX).collect();
    Err(Refusal::invalid(shown, format!("is no header of requests{nearest}")))
}

/// Returns the terms that the body and the headers of a request require together.
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

fn priority(text: &str) -> Result<Priority, String> {
    match text {
        "interactive" => Ok(Priority::Interactive),
        "batch" => Ok(Priority::Batch),
        _ => Err("must be interactive or batch".to_owned()),
    }
}

fn session(text: &str) -> Result<String, String> {
    let is_session = (1..=SESSION_LEN_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_session.then(|| text.to_owned()).ok_or_else(|| "must be 1 to 256 visible ASCII characters".to_owned())
}

fn strategy(text: &str) -> Result<Strategy, String> {
    let named = Strategy::CHOOSABLE.iter().find(|known| known.name == text).map(|known| known.value);
    let words = || Strategy::CHOOSABLE.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
    named.ok_or_else(|| format!("must be one of {}", words()))
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

fn read<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, Refusal> {
    let refuse = |reason: String| Refusal::invalid(name.as_str(), reason);
    let mut given = headers.get_all(name).iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refuse("must occur once".to_owned()));
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

    fn read(given: &[(&'static str, &'static [u8])]) -> Result<RoutingHeaders, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a value"));
        }
        RoutingHeaders::of(&headers).map_err(|refusal| refusal.details["field"].as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn terms_are_read_once_and_as_they_are() {
        let all: [(&str, &[u8]); 3] = [
            ("x-ledgerway-residency", b"eu"),
            ("x-ledgerway-zero-retention", b"true"),
            ("x-ledgerway-training", b"false"),
        ];
        let headers = read(&all).expect("headers");
        assert_eq!(json!(headers.terms), json!({ "residency": "eu", "zero_retention": true, "training": false }));
        assert_eq!(read(&[("x-ledgerway-training", b"true"), ("accept", b"*/*")]), Ok(RoutingHeaders::default()));
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
        assert!(KNOWN.iter().all(|known| known.as_str().starts_with(OWN_PREFIX) && must_be_known(known).is_ok()));
        let refused = |name: &'static str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("true"))]);
            RoutingHeaders::of(&headers).expect_err(name).message
        };
        assert!(refused("x-ledgerway-zero-retntion").ends_with("did you mean x-ledgerway-zero-retention?"));
        assert!(refused("x-ledgerway-colour").ends_with("is no header of requests"));
    }

    #[test]
    fn a_priority_is_one_of_two_words_and_a_session_is_short_and_visible() {
        let priority = |values: &[&'static str]| {
            let given: Vec<_> = values.iter().map(|value| ("x-ledgerway-priority", value.as_bytes())).collect();
            read(&given).map(|headers| headers.priority).ok()
        };
        assert_eq!((priority(&[]), priority(&["batch"])), (Some(Priority::Interactive), Some(Priority::Batch)));
        assert_eq!(priority(&["interactive"]), Some(Priority::Interactive));
        assert_eq!(
            (priority(&["batch", "interactive"]), priority(&["batch", "batch"]), priority(&["urgent"])),
            (None, None, None)
        );
        let session = |text: &'static [u8]| read(&[("x-ledgerway-session", text)]).map(|headers| headers.session).ok();
        assert_eq!(session(b"chat-7"), Some(Some("chat-7".to_owned())));
        assert_eq!((session(b""), session(b"a b"), session(b"\xff"), session(&[b'a'; 257])), (None, None, None, None));
    }

    #[test]
    fn a_strategy_has_the_words_that_rules_have() {
        for (word, strategy) in
            [("cost", Strategy::Cost), ("latency", Strategy::Latency), ("performance", Strategy::Latency)]
        {
            let headers = read(&[("x-ledgerway-strategy", word.as_bytes())]).expect("headers");
            assert_eq!(headers.strategy, Some(strategy));
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
