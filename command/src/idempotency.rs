//! `Idempotency-Key` recognizes a request that is sent again: by the client's key for it, and by a fingerprint of its content.
//!
//! The content may be a prompt, or name a person. So its fingerprint is an HMAC under a key that is derived from the salt of the
//! request's user: when an erasure overwrites the salt, no copy of a fingerprint, wherever it is, can be compared with a guess.

use events::event::Chain;
use events_log::{Fingerprint, Log, LogError};
use http::{HeaderMap, HeaderName};
use ring::digest::{self, SHA256};
use ring::hmac;
use secrets::KeyCheck;

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

/// The key of the fingerprints of a caller's requests: from the salt of its user. Requests without a user, and of one whose data
/// was erased, have a key from the tenant's id.
pub async fn fingerprint_key(log: &Log, key_check: &KeyCheck, caller: Chain) -> Result<hmac::Key, LogError> {
    let person = match caller.user {
        Some(user) => {
            log.read_for(caller.tenant, move |reader| Ok(reader.personal_data(&[user])?.remove(&user))).await?
        }
        None => None,
    };
    let of_tenant = || caller.tenant.map(|tenant| tenant.to_string()).unwrap_or_default().into_bytes();
    Ok(key_check.fingerprint_key(&person.map_or_else(of_tenant, |person| person.salt)))
}

/// The fingerprint of a request's parts. Only the last part may contain a NUL.
pub fn fingerprint(key: &hmac::Key, parts: &[&str], last: &[u8]) -> Fingerprint {
    let (mut keyed, mut unkeyed) = (hmac::Context::with_key(key), digest::Context::new(&SHA256));
    let ended = parts.iter().flat_map(|part| [part.as_bytes(), b"\0".as_slice()]);
    for bytes in ended.chain([last]) {
        keyed.update(bytes);
        unkeyed.update(bytes);
    }
    Fingerprint { keyed: bytes_of(keyed.sign().as_ref()), unkeyed: bytes_of(unkeyed.finish().as_ref()) }
}

fn bytes_of(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest);
    bytes
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrets::NodeKey;

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

    fn key(byte: u8, salt: &[u8]) -> hmac::Key {
        NodeKey::from_bytes(&[byte; 32]).derived_key_check().fingerprint_key(salt)
    }

    #[test]
    fn every_part_counts_and_where_it_ends() {
        let key = key(7, b"salt");
        let same = fingerprint(&key, &["POST", "/a", "ten_1"], b"{}");
        assert_eq!(fingerprint(&key, &["POST", "/a", "ten_1"], b"{}"), same);
        for other in [
            fingerprint(&key, &["PATCH", "/a", "ten_1"], b"{}"),
            fingerprint(&key, &["POST", "/b", "ten_1"], b"{}"),
            fingerprint(&key, &["POST", "/a", "ten_2"], b"{}"),
            fingerprint(&key, &["POST", "/a", "ten_1"], b"{ }"),
            fingerprint(&key, &["POST", "/at", "en_1"], b"{}"),
        ] {
            assert!(other.keyed != same.keyed && other.unkeyed != same.unkeyed);
        }
    }

    #[test]
    fn without_the_salt_and_the_installations_secret_nobody_makes_what_is_stored() {
        let of = |key: hmac::Key| fingerprint(&key, &["inference"], b"a guess");
        let stored = of(key(7, b"salt"));
        assert_eq!(stored, of(key(7, b"salt")), "on every node");
        for other in [key(7, b"other"), key(7, b""), key(8, b"salt")] {
            assert_ne!(of(other).keyed, stored.keyed);
        }
        let digest = digest::digest(&SHA256, b"inference\0a guess");
        assert_eq!(stored.unkeyed, digest.as_ref(), "as an earlier version stored it");
        assert_ne!(stored.keyed, digest.as_ref());
    }
}
