//! Opened secrets of providers stay in memory only while they are in force.

use std::sync::Arc;

use projections::tables::{Tables, TablesHandle};
use secrets::{SecretId, Vault};

/// Drops secrets from memory soon after administration has changed, whoever changed it and whether or not the reply was read. Runs
/// until the tables end.
pub async fn follow(vault: Arc<Vault>, mut tables: TablesHandle) {
    while tables.changed_for_a_while().await {
        let tables = tables.load();
        vault.retain(|id, generation| generation_in_force(&tables, id) == Some(generation));
    }
}

/// The generation that the row of a live provider names.
fn generation_in_force(tables: &Tables, id: SecretId) -> Option<u32> {
    match id {
        SecretId::Key(key) => tables.secret_generation(key),
        SecretId::Headers(provider) => Some(tables.live_provider(provider)?.value.headers_generation),
    }
}
