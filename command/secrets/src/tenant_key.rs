//! A tenant's key, wrapped to a node with HPKE (RFC 9180): only the identity of that node opens it. It is bound to the tenant and
//! the node, so that no row opens in place of another. Since anybody can encrypt to a public key, an HMAC under the check key of
//! API keys shows that a node of this installation did it.
//!
//! Earlier versions wrapped keys with age. These copies open until `reseal`, or a node that lacks one, makes new ones.

use std::convert::Infallible;

use events::hex;
use events::ids::IdMaker;
use events_log::{SideRow, TenantKey};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng, utils};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use ring::digest::{SHA256, digest};

use super::identity::{Identity, Recipient};
use super::node_key::wipe;
use super::{KeyCheck, NodeKey, age_file};

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 32;
/// The public key that HPKE makes for each copy.
const ENCAPSULATED_LEN: usize = 32;
/// Prefix of copies that are encrypted with HPKE: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
const HPKE_FORM: &[u8] = b"ledgerway hpke v1\n";

/// The node that a tenant's key is wrapped to.
#[derive(Clone, Copy)]
pub(super) struct GrantedNode<'a> {
    /// Its fingerprint.
    pub node: &'a str,
    pub recipient: &'a Recipient,
}

/// The row with `key`, wrapped to a node. `None` if the node's public key is of low order, so that anybody could open it.
pub(super) fn granted(
    check: &KeyCheck,
    ids: &IdMaker,
    tenant: &str,
    to: GrantedNode<'_>,
    key: &[u8; KEY_LEN],
) -> Option<SideRow> {
    let GrantedNode { node, recipient } = to;
    let context = context(tenant, node);
    let encrypted = encrypted(ids, recipient, &context, key)?;
    let tag = check.sign(&signed(&context, &encrypted));
    let wrapped = [encrypted.as_slice(), tag.as_ref()].concat();
    Some(SideRow::TenantKey(TenantKey { tenant: tenant.to_owned(), node: node.to_owned(), wrapped }))
}

/// Opens a key that is wrapped to this node. `None` if it is for another node or tenant, was not wrapped by a node of this
/// installation, or is damaged.
pub(super) fn opened(check: &KeyCheck, node_key: &NodeKey, row: &TenantKey) -> Option<[u8; KEY_LEN]> {
    let (encrypted, tag) = row.wrapped.split_at_checked(row.wrapped.len().checked_sub(TAG_LEN)?)?;
    let context = context(&row.tenant, &row.node);
    if !check.verifies(&signed(&context, encrypted), tag) {
        return None;
    }
    let mut plain = match encrypted.strip_prefix(HPKE_FORM) {
        Some(encrypted) => decrypted(&node_key.identity, &context, encrypted)?,
        None => of_age_file(&node_key.identity, &context, encrypted)?,
    };
    let key = plain.as_slice().try_into().ok();
    wipe(&mut plain);
    key
}

fn encrypted(ids: &IdMaker, recipient: &Recipient, context: &str, key: &[u8]) -> Option<Vec<u8>> {
    let sealed = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &recipient.for_hpke(),
        context.as_bytes(),
        key,
        &[],
        &mut Randomness(ids),
    );
    let (encapsulated, encrypted) = sealed.ok()?;
    Some([HPKE_FORM, &encapsulated.to_bytes(), &encrypted].concat())
}

fn decrypted(identity: &Identity, context: &str, encrypted: &[u8]) -> Option<Vec<u8>> {
    let (encapsulated, encrypted) = encrypted.split_at_checked(ENCAPSULATED_LEN)?;
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &identity.for_hpke(),
        &Deserializable::from_bytes(encapsulated).ok()?,
        context.as_bytes(),
        encrypted,
        &[],
    );
    opened.ok()
}

/// The key in a copy of an earlier version, which has its context in what is encrypted.
fn of_age_file(identity: &Identity, context: &str, file: &[u8]) -> Option<Vec<u8>> {
    let mut plain = age_file::open(identity, file)?;
    let key = plain.strip_prefix(context.as_bytes()).map(<[u8]>::to_vec);
    wipe(&mut plain);
    key
}

/// The source of randomness of all secrets, as HPKE takes it.
struct Randomness<'a>(&'a IdMaker);

impl TryRng for Randomness<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            chunk.copy_from_slice(&self.0.bytes::<32>()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Randomness<'_> {}

fn context(tenant: &str, node: &str) -> String {
    format!("ledgerway tenant key\n{tenant}\n{node}\n")
}

fn signed(context: &str, encrypted: &[u8]) -> String {
    let mut text = context.to_owned();
    text.push_str(&hex::lower(digest(&SHA256, encrypted).as_ref()));
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use events::ids::SystemRandom;
    use events::time::SystemClock;

    use super::*;

    fn ids() -> IdMaker {
        IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom))
    }

    fn row(of: SideRow) -> TenantKey {
        let SideRow::TenantKey(row) = of else { panic!("{of:?}") };
        row
    }

    #[test]
    fn only_the_node_that_it_is_wrapped_to_opens_a_tenants_key() {
        let [ours, theirs] = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]));
        let check = ours.derived_key_check();
        let recipient = ours.identity.to_public();
        let granted = || {
            row(granted(
                &check,
                &ids(),
                "ten_1",
                GrantedNode { node: &ours.fingerprint(), recipient: &recipient },
                &[9; 32],
            )
            .unwrap())
        };
        assert_eq!(opened(&check, &ours, &granted()), Some([9; 32]));
        assert_eq!(opened(&check, &theirs, &granted()), None);
        // The same row, as that of another tenant or node.
        assert_eq!(opened(&check, &ours, &TenantKey { tenant: "ten_2".into(), ..granted() }), None);
        let moved = TenantKey { node: theirs.fingerprint(), ..granted() };
        assert_eq!(opened(&check, &theirs, &moved), None);
        // Not wrapped by a node of this installation.
        assert_eq!(opened(&theirs.derived_key_check(), &ours, &granted()), None);
        let mut damaged = granted();
        damaged.wrapped[60] ^= 1;
        assert_eq!(opened(&check, &ours, &damaged), None);
        assert_eq!(opened(&check, &ours, &TenantKey { wrapped: vec![7; 8], ..granted() }), None);
    }
    /// Whoever could write a registration could choose such a key, if it were not for the HMAC.
    #[test]
    fn no_key_is_wrapped_to_a_public_key_of_low_order() {
        let node = NodeKey::from_bytes(&[1; 32]);
        let text = bech32::encode("age", bech32::ToBase32::to_base32(&[0; 32]), bech32::Variant::Bech32).unwrap();
        let granted = granted(
            &node.derived_key_check(),
            &ids(),
            "ten_1",
            GrantedNode { node: "1", recipient: &text.parse().unwrap() },
            &[9; 32],
        );
        assert!(granted.is_none());
    }
}
