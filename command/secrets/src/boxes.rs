//! Boxes: what is encrypted at rest, nonce and ciphertext in one. What a box is for is bound into it, so that none opens in
//! another's place.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::node_key::{NodeKey, wipe};

pub(super) const NONCE_LEN: usize = 24;

/// What the box of a provider's API key is for.
pub(super) fn secret_binding(scope: &str, subject: &str, generation: u32) -> Vec<u8> {
    format!("ledgerway provider key\n{scope}\n{subject}\n{generation}").into_bytes()
}

/// A key in a box under the node's. `None` where the cipher fails, which it does not for so little.
pub(super) fn wrap(node_key: &NodeKey, nonce: &[u8; NONCE_LEN], scope: &str, key: &[u8; 32]) -> Option<Vec<u8>> {
    make(node_key.wrapping(), nonce, &data_key_binding(scope), key)
}

/// `None` where it was wrapped under another node's key or for another scope, or was damaged.
pub(super) fn unwrap(node_key: &NodeKey, scope: &str, wrapped: &[u8]) -> Option<[u8; 32]> {
    let mut opened = open(node_key.wrapping(), &data_key_binding(scope), wrapped)?;
    let key = opened.as_slice().try_into().ok();
    wipe(&mut opened);
    key
}

/// `None` for a text that is too long for the cipher: 256 GiB.
pub(super) fn make(cipher: &XChaCha20Poly1305, nonce: &[u8; NONCE_LEN], bound: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    let sealed = cipher.encrypt(XNonce::from_slice(nonce), Payload { msg: plain, aad: bound }).ok()?;
    Some([nonce.as_slice(), &sealed].concat())
}

/// `None` where the box was made under another key, for something else, or was damaged.
pub(super) fn open(cipher: &XChaCha20Poly1305, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    cipher.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: bound }).ok()
}

fn data_key_binding(scope: &str) -> Vec<u8> {
    format!("ledgerway data key\n{scope}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_under_its_own_key_and_for_its_own_purpose_alone() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let sealed = make(key.wrapping(), &[7; NONCE_LEN], b"for a", b"secret").unwrap();
        assert_eq!(open(key.wrapping(), b"for a", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(open(key.wrapping(), b"for b", &sealed), None);
        assert_eq!(open(NodeKey::from_bytes(&[2; 32]).wrapping(), b"for a", &sealed), None);
        assert_eq!(open(key.wrapping(), b"for a", &sealed[..10]), None);
        let mut damaged = sealed;
        damaged[NONCE_LEN] ^= 1;
        assert_eq!(open(key.wrapping(), b"for a", &damaged), None);
    }

    #[test]
    fn the_box_of_a_providers_key_opens_for_no_other_scope_provider_or_generation() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let sealed = make(key.wrapping(), &[7; NONCE_LEN], &secret_binding("ten_1", "prv_1", 1), b"secret").unwrap();
        let opened = |scope, subject, generation| {
            open(key.wrapping(), &secret_binding(scope, subject, generation), &sealed).is_some()
        };
        assert!(opened("ten_1", "prv_1", 1));
        assert!(!opened("ten_2", "prv_1", 1) && !opened("ten_1", "prv_2", 1) && !opened("ten_1", "prv_1", 2));
    }

    #[test]
    fn a_key_is_unwrapped_for_its_scope_and_under_its_nodes_key_alone() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let wrapped = wrap(&key, &[7; NONCE_LEN], "platform", &[9; 32]).unwrap();
        assert_eq!(unwrap(&key, "platform", &wrapped), Some([9; 32]));
        assert_eq!(unwrap(&key, "ten_1", &wrapped), None);
        assert_eq!(unwrap(&NodeKey::from_bytes(&[2; 32]), "platform", &wrapped), None);
    }
}
