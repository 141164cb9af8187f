//! Opened API keys of providers stay in memory only while they are in force.

use std::sync::Arc;

use projections::tables::TablesHandle;
use secrets::Vault;

/// Drops keys from memory whenever administration changes, whoever changed it and whether or not the reply was read. Runs
/// until the tables end.
pub async fn follow(vault: Arc<Vault>, mut tables: TablesHandle) {
    while tables.changed().await {
        let tables = tables.load();
        vault.retain(|key, generation| tables.secret_generation(key) == Some(generation));
    }
}
