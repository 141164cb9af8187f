//! `traceparent` and `tracestate` of W3C Trace Context. A malformed context is ignored without an error.

use events::hex;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::SAMPLED;
use super::span::{SpanId, TraceId};

pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longer lists need not be forwarded.
const STATE_BYTES_MAX: usize = 512;
/// The length of `00-{32}-{16}-{2}`.
const LEN: usize = 55;

/// A client's trace context.
#[derive(Clone, Debug)]
pub struct TraceParent {
    pub trace: TraceId,
    /// The client's span.
    pub parent: SpanId,
    flags: u8,
    /// The header as the client sent it.
    pub header: HeaderValue,
    pub state: Option<HeaderValue>,
}

impl TraceParent {
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let header = headers.get(&TRACEPARENT)?;
        // Two headers are ambiguous.
        if headers.get_all(&TRACEPARENT).iter().nth(1).is_some() {
            return None;
        }
        let text = header.to_str().ok()?;
        let (version, rest) = text.split_at_checked(2)?;
        let [version] = bytes(version)?;
        // A later version may append further fields.
        let is_long_enough = match version {
            0xff => false,
            0 => text.len() == LEN,
            _ => text.len() == LEN || text.as_bytes().get(LEN) == Some(&b'-'),
        };
        let mut fields = rest.strip_prefix('-')?.splitn(4, '-');
        let (trace, parent) = (bytes(fields.next()?)?, bytes(fields.next()?)?);
        let [flags] = bytes(fields.next()?)?;
        if !is_long_enough || trace == [0; 16] || parent == [0; 8] {
            return None;
        }
        let state = state_of(headers);
        Some(Self { trace: TraceId(trace), parent: SpanId(parent), flags, header: header.clone(), state })
    }

    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED == SAMPLED
    }
}

/// Joins several headers into one list.
fn state_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all = headers.get_all(&TRACESTATE).iter();
    let first = all.next()?;
    let mut list = first.to_str().ok()?.to_owned();
    for more in all {
        list.push(',');
        list.push_str(more.to_str().ok()?);
    }
    (!list.is_empty() && list.len() <= STATE_BYTES_MAX)
        .then_some(list)
        .and_then(|list| HeaderValue::try_from(list).ok())
}

/// Exactly `N` bytes. The standard allows only lower-case digits.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.bytes().any(|digit| digit.is_ascii_uppercase()) { None } else { hex::parse(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn read(parent: &str, states: &[&str]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::try_from(parent).expect("a header"));
        for state in states {
            headers.append("tracestate", HeaderValue::try_from(*state).expect("a header"));
        }
        TraceParent::of(&headers)
    }

    #[test]
    fn a_context_is_taken_over_as_it_is() {
        let context = read(GOOD, &["a=1", "b=2"]).expect("a context");
        assert_eq!(context.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.parent.to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.header == GOOD);
        assert_eq!(context.state.expect("a state"), "a=1,b=2");
        assert!(!read(&GOOD.replace("-01", "-00"), &[]).expect("a context").is_sampled());
        assert!(read(&GOOD.replace("00-0af", "cc-0af"), &[]).is_some());
        assert!(read(&format!("{}-more", GOOD.replace("00-0af", "cc-0af")), &[]).is_some());
        assert!(read(GOOD, &[&"x".repeat(513)]).expect("a context").state.is_none());
    }

    #[test]
    fn a_malformed_header_is_ignored() {
        for malformed in [
            "",
            "00",
            "00-",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(read(malformed, &[]).is_none(), "{malformed}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append("traceparent", HeaderValue::from_static(GOOD));
        }
        assert!(TraceParent::of(&twice).is_none());
    }
}
