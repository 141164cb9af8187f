//! The nodes of an installation, as the database has them: the public half of each one's identity, and the tenants that it
//! serves. An HMAC under the check key of API keys keeps anybody who can only write to the database from adding a node.

use events_log::RegisteredNode;

use super::identity::Recipient;
use super::{KeyCheck, NodeKey, ServedTenants};

/// A node whose registration is genuine.
pub(super) struct TrustedNode {
    pub node: String,
    pub recipient: Recipient,
    pub serves: ServedTenants,
}

/// The registration of the node with this key.
pub(super) fn registration(check: &KeyCheck, node_key: &NodeKey, serves: &str) -> RegisteredNode {
    let (node, recipient) = (node_key.fingerprint(), node_key.identity.to_public().to_string());
    let tag = check.sign(&signed(&node, &recipient, serves)).as_ref().to_vec();
    RegisteredNode { node, recipient, serves: serves.to_owned(), tag }
}

/// The nodes with genuine registrations, without the one with this key. Others are logged and left out.
pub(super) fn others(check: &KeyCheck, node_key: &NodeKey, nodes: &[RegisteredNode]) -> Vec<TrustedNode> {
    let own = node_key.fingerprint();
    nodes.iter().filter(|node| node.node != own).filter_map(|node| trusted(check, node)).collect()
}

fn trusted(check: &KeyCheck, registered: &RegisteredNode) -> Option<TrustedNode> {
    let RegisteredNode { node, recipient, serves, tag } = registered;
    let is_genuine = check.verifies(&signed(node, recipient, serves), tag);
    let known = is_genuine.then(|| Some((recipient.parse().ok()?, ServedTenants::parse(serves)?))).flatten();
    if known.is_none() {
        tracing::warn!(node, "a registered node gets no keys of tenants: no node of this installation registered it");
    }
    known.map(|(recipient, serves)| TrustedNode { node: node.clone(), recipient, serves })
}

fn signed(node: &str, recipient: &str, serves: &str) -> String {
    format!("ledgerway node\n{node}\n{recipient}\n{serves}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_that_was_changed_is_left_out() {
        let [ours, theirs] = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]));
        let check = ours.derived_key_check();
        let genuine = || registration(&check, &theirs, "all");
        let left = |node: RegisteredNode| others(&check, &ours, &[node]).len();
        assert_eq!(left(genuine()), 1);
        assert_eq!(left(registration(&check, &ours, "all")), 0, "it is no other node");
        let attacker = NodeKey::from_bytes(&[3; 32]).identity.to_public().to_string();
        assert_eq!(left(RegisteredNode { recipient: attacker, ..genuine() }), 0);
        assert_eq!(left(RegisteredNode { node: "0000000000000000".into(), ..genuine() }), 0);
        assert_eq!(left(RegisteredNode { serves: "ten_00000000000000000000000000000001".into(), ..genuine() }), 0);
        assert_eq!(left(registration(&theirs.derived_key_check(), &theirs, "all")), 0);
    }
}
