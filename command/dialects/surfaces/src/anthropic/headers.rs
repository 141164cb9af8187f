//! The headers of a request: the version of the API, and its betas. Both go on to providers of the same dialect.

use events::refusal::Refusal;
use http::{HeaderMap, HeaderName, HeaderValue};
use intermediate::facts::Unpriced;
use intermediate::fields::Path;

use super::{betas, priceable};
use crate::RequestHeaders;

pub const VERSION: &str = "anthropic-version";
pub const BETA: &str = "anthropic-beta";

/// The oldest version that the gateway speaks.
const FIRST_VERSION: &str = "2023-06-01";
/// Longest list of betas, in bytes.
pub const BETA_BYTES_MAX: usize = 2048;

/// Errors: `INVALID_REQUEST` for a version that is not a date from 2023-06-01 on, and for a list of betas that is too
/// long or not visible ASCII.
pub fn read(headers: &HeaderMap) -> Result<RequestHeaders, Refusal> {
    let mut read = RequestHeaders::default();
    if let Some(version) = version(headers)? {
        read.forwarded.push((HeaderName::from_static(VERSION), version.clone()));
    }
    let betas = betas(headers)?;
    if let Some(beta) = betas.split(',').map(str::trim).find(|beta| !beta.is_empty() && !is_harmless(beta)) {
        let refusal = priceable::unpriced(
            &Path::Root.field(BETA),
            &format!("the beta {beta:.100} may choose another price, or run tools that the provider bills"),
        );
        read.unpriced.push(Unpriced::new(priceable::BETAS, refusal));
    }
    if let (false, Ok(value)) = (betas.is_empty(), HeaderValue::try_from(&betas)) {
        read.forwarded.push((HeaderName::from_static(BETA), value));
    }
    Ok(read)
}

fn is_harmless(beta: &str) -> bool {
    betas::HARMLESS.contains(&beta)
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

    #[test]
    fn a_beta_that_is_not_known_to_be_free_of_charge_has_no_price() {
        for (list, unpriced) in [
            ("interleaved-thinking-2025-05-14", None),
            (" prompt-caching-2024-07-31 , claude-code-20250219,", None),
            ("context-1m-2025-08-07", Some("context-1m-2025-08-07")),
            ("prompt-caching-2024-07-31,fast-mode-2026-02-01", Some("fast-mode-2026-02-01")),
            ("of-tomorrow", Some("of-tomorrow")),
        ] {
            let read = read(&headers(&[(BETA, list)])).expect(list);
            assert_eq!(read.forwarded.len(), 1, "{list}");
            let found = read.unpriced.first().map(|unpriced| (unpriced.name, unpriced.refusal.message.clone()));
            assert_eq!(found.is_some(), unpriced.is_some(), "{list}");
            if let (Some((name, message)), Some(beta)) = (found, unpriced) {
                assert!(name == "anthropic_beta" && message.contains(beta), "{message}");
            }
        }
        let long = "x,".repeat(BETA_BYTES_MAX);
        assert!(read(&headers(&[(BETA, &long)])).is_err());
    }

    #[test]
    fn no_beta_is_there_twice() {
        let mut all = betas::HARMLESS.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), betas::HARMLESS.len());
    }
}
