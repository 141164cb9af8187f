//! Sealed boxes: secrets encrypted at rest, as nonce and ciphertext. The purpose of a box is its associated data, so that no
//! box opens in place of another.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, Payload};
use events::ids::IdMaker;
use events_log::SideRow;

use super::node_key::{NodeKey, wipe};

const NONCE_LEN: usize = 24;

/// The associated data of a provider's API key.
pub(super) fn secret_context(scope: &str, subject: &str, generation: u32) -> Vec<u8> {
    format!("ledgerway provider key\n{scope}\n{subject}\n{generation}").into_bytes()
}

/// The row of a key, sealed under the node's key. `None` if the cipher fails, which it does only for texts far longer than a
/// key.
pub(super) fn wrapped_row(node_key: &NodeKey, ids: &IdMaker, scope: &str, key: &[u8; 32]) -> Option<SideRow> {
    let wrapped = seal(&node_key.wrapping, &ids.bytes(), &data_key_context(scope), key)?;
    Some(SideRow::WrappedKey { scope: scope.to_owned(), wrapped })
}

/// Opens a wrapped key. `None` if it was wrapped under another node's key or for another scope, or is damaged.
pub(super) fn unwrap(node_key: &NodeKey, scope: &str, wrapped: &[u8]) -> Option<[u8; 32]> {
    let mut opened = open(&node_key.wrapping, &data_key_context(scope), wrapped)?;
    let key = opened.as_slice().try_into().ok();
    wipe(&mut opened);
    key
}

/// `None` for a text that is too long for the cipher: 256 GiB.
pub(super) fn seal(
    cipher: &XChaCha20Poly1305,
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    plain: &[u8],
) -> Option<Vec<u8>> {
    let sealed = cipher.encrypt(nonce.into(), Payload { msg: plain, aad: context }).ok()?;
    Some([nonce.as_slice(), &sealed].concat())
}

/// `None` if the box was sealed under another key or for another purpose, or is damaged.
pub(super) fn open(cipher: &XChaCha20Poly1305, context: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
    cipher.decrypt(nonce.try_into().ok()?, Payload { msg: sealed, aad: context }).ok()
}

fn data_key_context(scope: &str) -> Vec<u8> {
    format!("ledgerway data key\n{scope}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_opens_under_its_own_key_and_for_its_own_purpose_alone() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let sealed = seal(&key.wrapping, &[7; NONCE_LEN], b"for a", b"secret").unwrap();
        assert_eq!(open(&key.wrapping, b"for a", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(open(&key.wrapping, b"for b", &sealed), None);
        assert_eq!(open(&NodeKey::from_bytes(&[2; 32]).wrapping, b"for a", &sealed), None);
        assert_eq!(open(&key.wrapping, b"for a", &sealed[..10]), None);
        let mut damaged = sealed;
        damaged[NONCE_LEN] ^= 1;
        assert_eq!(open(&key.wrapping, b"for a", &damaged), None);
    }

    #[test]
    fn the_box_of_a_providers_key_opens_for_no_other_scope_provider_or_generation() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let sealed = seal(&key.wrapping, &[7; NONCE_LEN], &secret_context("ten_1", "prv_1", 1), b"secret").unwrap();
        let opened = |scope, subject, generation| {
            open(&key.wrapping, &secret_context(scope, subject, generation), &sealed).is_some()
        };
        assert!(opened("ten_1", "prv_1", 1));
        assert!(!opened("ten_2", "prv_1", 1) && !opened("ten_1", "prv_2", 1) && !opened("ten_1", "prv_1", 2));
    }

    #[test]
    fn a_key_is_unwrapped_for_its_scope_and_under_its_nodes_key_alone() {
        let key = NodeKey::from_bytes(&[1; 32]);
        let wrapped = seal(&key.wrapping, &[7; NONCE_LEN], &data_key_context("platform"), &[9; 32]).unwrap();
        assert_eq!(unwrap(&key, "platform", &wrapped), Some([9; 32]));
        assert_eq!(unwrap(&key, "ten_1", &wrapped), None);
        assert_eq!(unwrap(&NodeKey::from_bytes(&[2; 32]), "platform", &wrapped), None);
    }
}
