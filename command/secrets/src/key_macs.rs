//! HMACs of the secrets of API keys: what is stored of a key, and what a request's key is checked by (ADR-0037).

use events::ids::KeyId;
use ring::hmac;

/// Makes and checks the HMACs of key secrets.
///
/// A secret is 256 random bits, so a slow hash would only multiply a search that cannot end. An HMAC takes microseconds, and whoever
/// can only write to the database cannot make one.
pub struct KeyMacs(hmac::Key);

impl KeyMacs {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The HMAC of a key's secret, which is right for no other key and no other generation.
    pub fn sign(&self, key: KeyId, generation: u32, secret: &str) -> Vec<u8> {
        hmac::sign(&self.0, signed_text(key, generation, secret).as_bytes()).as_ref().to_vec()
    }

    /// Returns whether `mac` is the HMAC of this secret, in constant time.
    pub fn verifies(&self, key: KeyId, generation: u32, secret: &str, mac: &[u8]) -> bool {
        hmac::verify(&self.0, signed_text(key, generation, secret).as_bytes(), mac).is_ok()
    }
}

/// Ids have one length, and generations only digits: no two secrets have the same text.
fn signed_text(key: KeyId, generation: u32, secret: &str) -> String {
    format!("{key}.{generation}.{secret}")
}

#[cfg(test)]
mod tests {
    use events::ids::KeyId;

    use crate::NodeKey;

    #[test]
    fn an_hmac_is_right_for_one_secret_of_one_key_and_one_installation() {
        let macs = |byte| NodeKey::from_bytes(&[byte; 32]).derived_key_check().key_macs();
        let id = |number: u32| format!("{}{number:032x}", KeyId::PREFIX).parse::<KeyId>().unwrap();
        let (ours, key, other) = (macs(1), id(1), id(2));
        let mac = ours.sign(key, 1, "secret");
        assert!(ours.verifies(key, 1, "secret", &mac) && macs(1).verifies(key, 1, "secret", &mac));
        assert!(!ours.verifies(key, 1, "secreT", &mac));
        assert!(!ours.verifies(key, 2, "secret", &mac));
        assert!(!ours.verifies(other, 1, "secret", &mac));
        assert!(!macs(2).verifies(key, 1, "secret", &mac));
        assert!(!ours.verifies(key, 1, "secret", &mac[..31]) && !ours.verifies(key, 1, "secret", b""));
    }
}
