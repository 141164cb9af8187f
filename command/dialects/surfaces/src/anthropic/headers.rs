//! The headers of a request: the version of the API, and its betas. Both go on to providers of the same dialect.

use events::refusal::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue};
use intermediate::fields::Path;

use super::betas;
use crate::{RequestHeaders, WithheldValues};

pub const VERSION: &str = "anthropic-version";
pub const BETA: &str = "anthropic-beta";

/// The oldest version that the gateway speaks.
const FIRST_VERSION: &str = "2023-06-01";
/// Longest list of betas, in bytes.
pub const BETA_BYTES_MAX: usize = 2048;
/// Most betas that the response's header names, because proxies have room for few kilobytes of headers.
const SAID_MAX: usize = 16;
/// Longest beta that it names, in bytes.
const SAID_BYTES_MAX: usize = 64;

/// Errors: `INVALID_REQUEST` for a version that is not a date from 2023-06-01 on, and for a list of betas that is too
/// long or not visible ASCII.
pub fn read(headers: &HeaderMap) -> Result<RequestHeaders, Refusal> {
    let mut read = RequestHeaders::default();
    if let Some(version) = version(headers)? {
        read.forwarded.push((HeaderName::from_static(VERSION), version.clone()));
    }
    let betas = betas(headers)?;
    if let (false, Ok(value)) = (betas.is_empty(), HeaderValue::try_from(&betas)) {
        read.forwarded.push((HeaderName::from_static(BETA), value));
        read.withheld = withheld(&betas);
    }
    Ok(read)
}

/// The betas that may change the price; `None` if there are none.
fn withheld(betas: &str) -> Option<WithheldValues> {
    let given = betas.split(',').map(str::trim).filter(|beta| !beta.is_empty());
    let (kept, left_out): (Vec<_>, Vec<_>) = given.partition(|beta| betas::changes_no_price(beta));
    let rest = if kept.is_empty() { None } else { HeaderValue::try_from(kept.join(",")).ok() };
    (!left_out.is_empty()).then(|| WithheldValues { name: BETA, said: said(&left_out), rest })
}

/// The values in the response's header: those that are short, and no more than some.
fn said(left_out: &[&str]) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for beta in left_out.iter().filter(|beta| beta.len() <= SAID_BYTES_MAX) {
        let value = format!("{BETA}: {beta}");
        if said.len() < SAID_MAX && !said.contains(&value) {
            said.push(value);
        }
    }
    if said.is_empty() { vec![BETA.to_owned()] } else { said }
}

fn version(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Refusal> {
    let mut given = headers.get_all(VERSION).iter();
    let Some(version) = given.next() else { return Ok(None) };
    let is_one = given.next().is_none() && version.to_str().is_ok_and(|text| is_date(text) && text >= FIRST_VERSION);
    match is_one {
        true => Ok(Some(version)),
        false => Err(Path::Root.field(VERSION).refuse("must be one date from 2023-06-01 on, such as 2023-06-01")),
    }
}

/// True for `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let is_number = |part: &str, from: u32, to: u32| {
        part.bytes().all(|byte| byte.is_ascii_digit()) && part.parse().is_ok_and(|n: u32| (from..=to).contains(&n))
    };
    match (text.len(), text.split('-').collect::<Vec<_>>().as_slice()) {
        (10, [year, month, day]) => {
            year.len() == 4
                && month.len() == 2
                && is_number(year, 0, 9999)
                && is_number(month, 1, 12)
                && is_number(day, 1, 31)
        }
        _ => false,
    }
}

/// The betas of all headers of that name, which together are one list.
fn betas(headers: &HeaderMap) -> Result<String, Refusal> {
    let mut list = String::new();
    for value in headers.get_all(BETA) {
        let text = value.to_str().ok().filter(|text| list.len() + text.len() < BETA_BYTES_MAX);
        let Some(text) = text else {
            let reason = format!("must be visible ASCII, at most {BETA_BYTES_MAX} bytes");
            return Err(Path::Root.field(BETA).refuse(reason));
        };
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(text);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let header = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        given.iter().map(header).collect()
    }

    #[test]
    fn a_version_is_one_date_from_the_first_on() {
        assert!(read(&headers(&[])).expect("none").forwarded.is_empty());
        for good in ["2023-06-01", "2026-10-21", "2031-12-31"] {
            let read = read(&headers(&[(VERSION, good)])).expect(good);
            assert_eq!(read.forwarded, [(HeaderName::from_static(VERSION), HeaderValue::from_static(good))]);
        }
        for bad in ["", "2023-01-01", "2023-6-1", "2023-13-01", "2023-06-00", "latest", "2023-06-01, 2023-06-01"] {
            assert!(read(&headers(&[(VERSION, bad)])).is_err(), "{bad}");
        }
        let mut twice = headers(&[(VERSION, "2023-06-01")]);
        twice.append(VERSION, HeaderValue::from_static("2023-06-01"));
        assert!(read(&twice).is_err());
    }

    /// The value that goes to a provider that allows these fields, and what is named as left out.
    fn sent(list: &str, allowed: &[&str]) -> (Option<String>, Vec<String>) {
        let read = read(&headers(&[(BETA, list)])).expect(list);
        let allowed = allowed.iter().map(|name| (*name).to_owned()).collect();
        let text = |(_, value): &(HeaderName, HeaderValue)| value.to_str().expect("text").to_owned();
        (read.forwarded_to(&allowed).first().map(text), read.withheld_from(&allowed).to_vec())
    }

    #[test]
    fn a_beta_that_is_not_known_to_be_free_of_charge_goes_where_it_is_allowed_and_is_named_elsewhere() {
        for (list, wanted, said) in [
            ("interleaved-thinking-2025-05-14", Some("interleaved-thinking-2025-05-14"), vec![]),
            (
                " prompt-caching-2024-07-31 , claude-code-20250219,",
                Some(" prompt-caching-2024-07-31 , claude-code-20250219,"),
                vec![],
            ),
            ("context-1m-2025-08-07", None, vec!["anthropic-beta: context-1m-2025-08-07"]),
            (
                "prompt-caching-2024-07-31, oauth-2025-04-20,,of-tomorrow, effort-2025-11-24,of-tomorrow",
                Some("prompt-caching-2024-07-31,effort-2025-11-24"),
                vec!["anthropic-beta: oauth-2025-04-20", "anthropic-beta: of-tomorrow"],
            ),
        ] {
            assert_eq!(sent(list, &[]), (wanted.map(Into::into), said.iter().map(|name| (*name).into()).collect()));
            assert_eq!(sent(list, &["anthropic_beta"]), (Some(list.into()), vec![]));
        }
        let long = "x,".repeat(BETA_BYTES_MAX);
        assert!(read(&headers(&[(BETA, &long)])).is_err());
    }

    #[test]
    fn what_the_response_says_of_betas_is_bounded() {
        let many: Vec<_> = (0..300).map(|n| n.to_string()).collect();
        let (sent_value, said) = sent(&many.join(","), &[]);
        assert_eq!((sent_value, said.len()), (None, SAID_MAX));
        assert_eq!(sent(&"x".repeat(SAID_BYTES_MAX + 1), &[]), (None, vec![BETA.to_owned()]));
    }

    /// Claude Code sends such lists with every request.
    #[test]
    fn the_betas_of_claude_code_are_sent_but_for_those_without_effect() {
        let first = "claude-code-20250219,oauth-2025-04-20,interleaved-thinking-2025-05-14,\
            thinking-token-count-2026-05-13,context-management-2025-06-27,prompt-caching-scope-2026-01-05,\
            mid-conversation-system-2026-04-07,advisor-tool-2026-03-01,effort-2025-11-24,extended-cache-ttl-2025-04-11";
        let second = "context-1m-2025-08-07,advanced-tool-use-2025-11-20,tool-search-tool-2025-10-19";
        let newer = "claude-code-20250219,interleaved-thinking-2025-05-14,per-turn-control-2026-07-01,\
            mid-conversation-tool-changes-2026-07-01,effort-2025-11-24,dangerous-tool-use-2026-09-03,\
            thinking-display-updates-2026-08-18,afk-mode-2026-01-31";
        for (list, left_out) in [
            (first.to_owned(), vec!["oauth-2025-04-20"]),
            (format!("{first},{second}"), vec!["oauth-2025-04-20", "context-1m-2025-08-07"]),
            (newer.to_owned(), vec!["per-turn-control-2026-07-01", "afk-mode-2026-01-31"]),
        ] {
            let rest: Vec<_> = list.split(',').filter(|beta| !left_out.contains(beta)).collect();
            let said = left_out.iter().map(|beta| format!("anthropic-beta: {beta}")).collect();
            assert_eq!(sent(&list, &[]), (Some(rest.join(",")), said));
        }
    }
}
