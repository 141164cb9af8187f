//! Opened API keys of providers stay in memory only while they are in force.

use std::sync::Arc;

use events::ids::TenantId;
use projections::tables::{Tables, TablesHandle};
use secrets::Vault;

/// Drops keys from memory whenever administration changes, whoever changed it and whether or not the reply was read. Runs
/// until the tables end.
pub async fn follow(vault: Arc<Vault>, mut tables: TablesHandle) {
    while tables.changed().await {
        let tables = tables.load();
        vault.retain(|provider, generation| {
            let provider = tables.provider(provider).filter(|provider| provider.is_live());
            provider.is_some_and(|provider| {
                let owner_is_live = provider.value.tenant_id.is_none_or(|owner| is_live_tenant(&tables, owner));
                provider.value.secret_generation == generation && owner_is_live
            })
        });
    }
}

fn is_live_tenant(tables: &Tables, tenant: TenantId) -> bool {
    tables.chain_of_tenant(tenant).is_some_and(|chain| tables.owners_are_live(&chain))
}
