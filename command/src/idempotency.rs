//! `Idempotency-Key` recognizes a request that is sent again: by the client's key for it, and by a fingerprint of its content.

use http::{HeaderMap, HeaderName};

/// The header with which a retry gets the same response, or is not paid for again.
pub static IDEMPOTENCY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_LEN_MAX: usize = 255;

/// The header's value is not a valid key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Idempotency-Key header must occur once, with 1 to 255 visible ASCII characters")]
pub struct MalformedKey;

/// The client's key; `None` if it sent none.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, MalformedKey> {
    let mut given = headers.get_all(&IDEMPOTENCY_HEADER).iter();
    let Some(key) = given.next() else { return Ok(None) };
    let is_key = (1..=KEY_LEN_MAX).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    match (key.to_str(), given.next()) {
        (Ok(key), None) if is_key => Ok(Some(key.to_owned())),
        _ => Err(MalformedKey),
    }
}

/// The SHA-256 of a request's parts. Only the last part may contain a NUL.
pub fn fingerprint(parts: &[&str], last: &[u8]) -> [u8; 32] {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        digest.update(part.as_bytes());
        digest.update(b"\0");
    }
    digest.update(last);
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest.finish().as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn keys(values: &[&[u8]]) -> Result<Option<String>, MalformedKey> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&IDEMPOTENCY_HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        key_of(&headers)
    }

    #[test]
    fn a_key_is_visible_ascii_bounded_and_there_once() {
        assert_eq!(keys(&[]), Ok(None));
        assert_eq!(keys(&[b"once-1"]), Ok(Some("once-1".to_owned())));
        assert_eq!(keys(&[&[b'x'; 255]]), Ok(Some("x".repeat(255))));
        for wrong in [b"".as_slice(), b"two words", b"\xff", &[b'x'; 256]] {
            assert_eq!(keys(&[wrong]), Err(MalformedKey));
        }
        assert_eq!(keys(&[b"once", b"once"]), Err(MalformedKey));
    }

    #[test]
    fn every_part_counts_and_where_it_ends() {
        let same = fingerprint(&["POST", "/a", "ten_1"], b"{}");
        assert_eq!(fingerprint(&["POST", "/a", "ten_1"], b"{}"), same);
        for other in [
            fingerprint(&["PATCH", "/a", "ten_1"], b"{}"),
            fingerprint(&["POST", "/b", "ten_1"], b"{}"),
            fingerprint(&["POST", "/a", "ten_2"], b"{}"),
            fingerprint(&["POST", "/a", "ten_1"], b"{ }"),
            fingerprint(&["POST", "/at", "en_1"], b"{}"),
        ] {
            assert_ne!(other, same);
        }
    }
}
