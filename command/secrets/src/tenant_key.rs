//! A tenant's key, wrapped to a node with age (X25519): only the identity of that node opens it. The tenant and the node are
//! part of what is encrypted, so that no row opens in place of another. Since anybody can encrypt to a public key, an HMAC
//! under the check key of API keys shows that a node of this installation did it.
//!
//! age draws its own randomness from the operating system: it has no port for it.

use age::x25519::Recipient;
use events::hex;
use events::log::{SideRow, TenantKey};
use ring::digest::{SHA256, digest};

use super::node_key::wipe;
use super::{KeyCheck, NodeKey};

const KEY_LEN: usize = 32;
const TAG_LEN: usize = 32;

/// The row with `key`, wrapped to a node. `None` if age fails, which it does only without randomness.
pub(super) fn granted(
    check: &KeyCheck,
    tenant: &str,
    (node, recipient): (&str, &Recipient),
    key: &[u8; KEY_LEN],
) -> Option<SideRow> {
    let context = context(tenant, node);
    let mut plain = [context.as_bytes(), key].concat();
    let encrypted = age::encrypt(recipient, &plain);
    wipe(&mut plain);
    let encrypted = encrypted.ok()?;
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
    let mut plain = age::decrypt(&node_key.identity, encrypted).ok()?;
    let key = plain.strip_prefix(context.as_bytes()).and_then(|key| key.try_into().ok());
    wipe(&mut plain);
    key
}

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
    use super::*;

    fn row(of: SideRow) -> TenantKey {
        let SideRow::TenantKey(row) = of else { panic!("{of:?}") };
        row
    }

    #[test]
    fn only_the_node_that_it_is_wrapped_to_opens_a_tenants_key() {
        let [ours, theirs] = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]));
        let check = ours.derived_key_check();
        let recipient = ours.identity.to_public();
        let granted = || row(granted(&check, "ten_1", (&ours.fingerprint(), &recipient), &[9; 32]).unwrap());
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
}
