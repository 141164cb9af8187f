//! A node whose key is replaced, with what it has of tenants' keys. It stays the same node for everybody else: it serves the
//! same tenants, under another identity.

use events::ids::{IdMaker, TenantId};
use events_log::{RegisteredNode, SideRow, TenantKey};

use super::ResealError;
use crate::identity::Recipient;
use crate::nodes::{self, TrustedNode};
use crate::tenant_key::GrantedNode;
use crate::{KeyCheck, NodeKey, ServedTenants, tenant_key};

pub struct MovingNode<'a> {
    check: &'a KeyCheck,
    ids: &'a IdMaker,
    previous: &'a NodeKey,
    new: &'a NodeKey,
    recipient: Recipient,
    others: Vec<TrustedNode>,
}

impl<'a> MovingNode<'a> {
    pub fn new(
        check: &'a KeyCheck,
        ids: &'a IdMaker,
        previous: &'a NodeKey,
        new: &'a NodeKey,
        nodes: &[RegisteredNode],
    ) -> Self {
        let mut others = nodes::others(check, previous, nodes);
        others.retain(|node| node.node != new.fingerprint());
        Self { check, ids, previous, new, recipient: new.identity.to_public(), others }
    }

    /// The tenants' keys that the old key opens.
    pub fn opened(&self, rows: &[TenantKey]) -> Result<Vec<(TenantId, [u8; 32])>, ResealError> {
        let own = self.previous.fingerprint();
        let ours = rows.iter().filter(|row| row.node == own);
        let open = |row: &TenantKey| {
            let key = tenant_key::opened(self.check, self.previous, row);
            let damaged = || ResealError::WrongPreviousKey { scope: row.tenant.clone() };
            Ok((row.tenant.parse().map_err(|_| damaged())?, key.ok_or_else(damaged)?))
        };
        ours.map(open).collect()
    }

    /// The rows with a tenant's new key, for this node and all others that serve the tenant.
    pub fn grants(&self, tenant: TenantId, key: &[u8; 32]) -> Result<Vec<SideRow>, ResealError> {
        let name = self.new.fingerprint();
        let own = GrantedNode { node: &name, recipient: &self.recipient };
        let others = self.others.iter().filter(|node| node.serves.contain(tenant));
        let nodes =
            std::iter::once(own).chain(others.map(|node| GrantedNode { node: &node.node, recipient: &node.recipient }));
        let tenant = tenant.to_string();
        let granted = |node| tenant_key::granted(self.check, self.ids, &tenant, node, key);
        let grants = nodes.map(granted).collect::<Option<_>>();
        grants.ok_or(ResealError::Unsealable { subject: tenant })
    }

    /// The rows that register the node anew.
    pub fn registration(&self, nodes: &[RegisteredNode]) -> [SideRow; 2] {
        let before = nodes.iter().find(|node| node.node == self.previous.fingerprint());
        let serves = before.map_or_else(|| ServedTenants::All.to_string(), |node| node.serves.clone());
        let new = nodes::registration(self.check, self.new, &serves);
        [SideRow::DropNode { node: self.previous.fingerprint() }, SideRow::Node(new)]
    }
}
