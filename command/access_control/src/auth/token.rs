//! The text of an API key: `sgk_<32 hex digits of its id>_<43 digits of secret><8 digits of check>`, the last two in base
//! 62. The check is a truncated HMAC under the installation's check key: one HMAC recognizes a made-up text, for which nothing
//! is then read.

use events::ids::{IdMaker, KeyId};
use secrets::base62;
use secrets::{KeyCheck, Secret};
use subtle::ConstantTimeEq;

const PREFIX: &str = KeyId::SECRET_PREFIX;
const ID_LEN: usize = 32;
const SECRET_LEN: usize = base62::DIGITS_OF_256_BITS;
const CHECK_LEN: usize = 8;
const TOKEN_LEN: usize = PREFIX.len() + ID_LEN + 1 + SECRET_LEN + CHECK_LEN;

/// SHA-256 of a whole token, by which caches know it.
pub type Digest = [u8; 32];

/// The digest of any text that a client sent as a key.
pub fn digest(text: &str) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref());
    digest
}

/// A text in the form of an API key; [`Token::is_ours`] tells whether this installation issued it.
pub struct Token<'a> {
    pub key_id: KeyId,
    /// The part that the check signs.
    signed: &'a str,
    /// The part whose HMAC is stored.
    pub secret: &'a str,
    check: &'a str,
}

impl<'a> Token<'a> {
    /// `None` for a text of another form.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() != TOKEN_LEN || !text.is_ascii() {
            return None;
        }
        let (signed, check) = text.split_at(TOKEN_LEN - CHECK_LEN);
        let (id, secret) = signed.strip_prefix(PREFIX)?.split_at(ID_LEN);
        let secret = secret.strip_prefix('_')?;
        let key_id = format!("{}{id}", KeyId::PREFIX).parse().ok()?;
        Some(Self { key_id, signed, secret, check })
    }

    /// Returns whether this installation issued the token: whether its check is right. Constant time.
    pub fn is_ours(&self, key_check: &KeyCheck) -> bool {
        check_of(key_check, self.signed).as_bytes().ct_eq(self.check.as_bytes()).into()
    }
}

/// A new token for the key `id`, with 256 bits of randomness.
pub fn make(id: KeyId, key_check: &KeyCheck, ids: &IdMaker) -> Secret {
    let signed = id.public_part() + &base62::of_256_bits(ids.bytes());
    let check = check_of(key_check, &signed);
    Secret::new(signed + &check)
}

/// The last eight base-62 digits of the HMAC's first 64 bits. The last digits, because each of them can have any value.
fn check_of(key_check: &KeyCheck, signed: &str) -> String {
    let tag = key_check.sign(signed);
    let head = tag.as_ref().iter().take(8).fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    base62::last_digits::<CHECK_LEN>(head)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::SystemRandom;
    use events::time::SystemClock;

    use super::*;
    use secrets::NodeKey;

    fn ids() -> IdMaker {
        IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
    }

    fn key_check_of(byte: u8) -> KeyCheck {
        NodeKey::from_bytes(&[byte; 32]).derived_key_check()
    }

    #[test]
    fn a_token_names_its_key_and_is_known_as_ours_by_our_installation_alone() {
        let (ids, key_check) = (ids(), key_check_of(7));
        let id: KeyId = ids.make();
        let text = make(id, &key_check, &ids);
        let token = Token::parse(text.reveal()).unwrap();
        assert_eq!(token.key_id, id);
        assert_eq!(token.secret.len(), 43);
        assert!(token.is_ours(&key_check));
        assert!(!token.is_ours(&key_check_of(8)));
    }

    #[test]
    fn a_token_with_any_other_character_is_not_ours() {
        let (ids, key_check) = (ids(), key_check_of(7));
        let text = make(ids.make(), &key_check, &ids);
        for place in 0..text.reveal().len() {
            let mut changed = text.reveal().as_bytes().to_vec();
            changed[place] = if changed[place] == b'a' { b'b' } else { b'a' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(!Token::parse(&changed).is_some_and(|token| token.is_ours(&key_check)), "changed at {place}");
        }
    }

    #[test]
    fn a_text_of_another_form_is_no_token() {
        let long = format!("{PREFIX}{}", "0".repeat(TOKEN_LEN - PREFIX.len()));
        let wide = format!("{PREFIX}{}", "é".repeat((TOKEN_LEN - PREFIX.len()) / 2));
        for text in ["", "sgk_", "sgk_garbage", "Bearer", long.as_str(), wide.as_str()] {
            assert!(Token::parse(text).is_none(), "{text:?}");
        }
    }
}
