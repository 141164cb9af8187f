//! Tenants' keys in the vault: who has them, and how they are passed on.
//!
//! A tenant's key exists once for each node that serves the tenant, wrapped to that node's identity. The node that makes it
//! wraps it to all nodes that are registered then; later ones get it from a node that has it, when that one starts or seals.
//! A node that stops serving a tenant gives its copy up if another node has one: the last copy is never deleted.

use std::collections::BTreeSet;

use chacha20poly1305::XChaCha20Poly1305;
use events::ids::TenantId;
use events_log::{RegisteredNode, SideRow, TenantKey};

use super::{Vault, VaultError, cipher_of};
use crate::identity::Recipient;
use crate::node_key::wipe;
use crate::nodes::{self, TrustedNode};
use crate::tenant_key::GrantedNode;
use crate::{KeyCheck, sealed_box, tenant_key};

/// The stored form of a tenant's key.
struct StoredTenantKey {
    /// The key as versions before nodes had identities wrapped it: under the node's key.
    legacy: Option<Vec<u8>>,
    granted: Vec<TenantKey>,
    nodes: Vec<RegisteredNode>,
}

impl Vault {
    /// The tenant's key, of which these are the copies; `None` if this node has it only as earlier versions wrapped it, or if
    /// there is none.
    ///
    /// Errors: this node does not serve the tenant, or has no copy that it can open.
    pub(super) async fn tenant_key(
        &self,
        tenant: TenantId,
        granted: &[TenantKey],
    ) -> Result<Option<[u8; 32]>, VaultError> {
        if !self.served.contain(tenant) {
            return Err(VaultError::NotServed { tenant });
        }
        if granted.is_empty() {
            return Ok(None);
        }
        let own = self.node_key.fingerprint();
        let ours = granted.iter().find(|row| row.node == own).ok_or(VaultError::NotGranted { tenant })?;
        let opened = tenant_key::opened(&self.key_check().await?, &self.node_key, ours);
        opened.map(Some).ok_or_else(|| VaultError::Unopenable { subject: tenant.to_string() })
    }

    /// The tenant's key, made if there is none, and the rows that pass it on to nodes that serve the tenant and lack it.
    pub(super) async fn tenant_key_to_seal(
        &self,
        tenant: TenantId,
    ) -> Result<(XChaCha20Poly1305, Vec<SideRow>), VaultError> {
        let scope = tenant.to_string();
        let asked = scope.clone();
        let read = self.log.read_for(Some(tenant), move |reader| {
            let (granted, nodes) = (reader.tenant_keys_of(&asked)?, reader.nodes()?);
            Ok(StoredTenantKey { legacy: reader.wrapped_key(&asked)?, granted, nodes })
        });
        let StoredTenantKey { legacy, granted, nodes } = read.await?;
        let unsealable = || VaultError::Unsealable { subject: scope.clone() };
        let mut rows = Vec::new();
        let mut key = match (self.tenant_key(tenant, &granted).await?, legacy) {
            (Some(key), _) => key,
            (None, Some(wrapped)) => {
                rows.push(SideRow::DropWrappedKey { scope: scope.clone() });
                sealed_box::unwrap(&self.node_key, &scope, &wrapped).ok_or_else(unsealable)?
            }
            (None, None) => self.first_data_key(&scope),
        };
        let check = self.key_check().await?;
        let others = nodes::others(&check, &self.node_key, &nodes);
        let grants = self.grants(&check, tenant, &granted, &others, &key);
        let cipher = cipher_of(key);
        wipe(&mut key);
        rows.extend(grants.ok_or_else(unsealable)?);
        Ok((cipher, rows))
    }

    /// The rows with the key for this node and others that serve the tenant and lack it.
    fn grants(
        &self,
        check: &KeyCheck,
        tenant: TenantId,
        granted: &[TenantKey],
        others: &[TrustedNode],
        key: &[u8; 32],
    ) -> Option<Vec<SideRow>> {
        let own = (self.node_key.fingerprint(), self.node_key.identity.to_public());
        let others = others.iter().filter(|node| node.serves.contain(tenant));
        let wanted = std::iter::once(own).chain(others.map(|node| (node.node.clone(), node.recipient.clone())));
        let lacking = wanted.filter(|(node, _)| !granted.iter().any(|row| row.node == *node));
        let tenant = tenant.to_string();
        let granted = |(node, recipient): (String, Recipient)| {
            tenant_key::granted(check, &self.ids, &tenant, GrantedNode { node: &node, recipient: &recipient }, key)
        };
        lacking.map(granted).collect()
    }

    /// Registers this node and whom it serves, passes keys of tenants on to other nodes that serve them, and gives up those
    /// of tenants that this node no longer serves. Call it once at the start.
    pub async fn register(&self) -> Result<(), VaultError> {
        let check = self.key_check().await?;
        let read = self.log.read(|reader| Ok((reader.nodes()?, reader.tenant_keys()?)));
        let (registered, granted) = read.await?;
        let ours = nodes::registration(&check, &self.node_key, &self.served.to_string());
        let others = nodes::others(&check, &self.node_key, &registered);
        let mut rows = Vec::new();
        if !registered.contains(&ours) {
            rows.push(SideRow::Node(ours.clone()));
        }
        let tenants: BTreeSet<&str> = granted.iter().map(|row| row.tenant.as_str()).collect();
        for tenant in tenants {
            let of_tenant: Vec<_> = granted.iter().filter(|row| row.tenant == tenant).cloned().collect();
            let (Some(own), Ok(id)) = (of_tenant.iter().find(|row| row.node == ours.node), tenant.parse()) else {
                continue;
            };
            if self.served.contain(id) {
                let Some(mut key) = tenant_key::opened(&check, &self.node_key, own) else { continue };
                rows.extend(self.grants(&check, id, &of_tenant, &others, &key).unwrap_or_default());
                wipe(&mut key);
            } else if of_tenant.iter().any(|row| others.iter().any(|node| node.node == row.node)) {
                rows.push(SideRow::DropTenantKey { tenant: tenant.to_owned(), node: ours.node.clone() });
            }
        }
        if rows.is_empty() { Ok(()) } else { self.store(rows).await }
    }
}

#[cfg(test)]
mod tests;
