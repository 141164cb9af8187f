//! The vault that this node opens at its start: the node's key, and the tenants that it serves.

use std::sync::Arc;
use std::time::Duration;

use command::admin::setup::{self, DefaultTenancy};
use command::environment::NamedProviders;
use events::ids::IdMaker;
use events::log::{Log, LogError};
use projections::tables::TablesHandle;
use secrets::node_key::NodeKeyError;
use secrets::reseal::StoredSecrets;
use secrets::wrong_key::WrongNodeKey;
use secrets::{KeyCheck, NodeKey, Secret, ServedTenants, Vault, VaultError};

use super::ServeError;
use super::engines::Engines;
use crate::config::Config;

/// How long the start waits for the tables, and after which part of it that is said.
const TABLES_WAIT_MAX: Duration = Duration::from_secs(60);
const TABLES_WAIT_UNSAID: Duration = Duration::from_secs(2);

/// The vault, and what was read to open it.
pub struct OpenedVault {
    pub vault: Arc<Vault>,
    pub served: ServedTenants,
    pub key_check: KeyCheck,
    pub tenancy: DefaultTenancy,
}

pub async fn open_vault(config: &Config, engines: &Engines, ids: &IdMaker) -> Result<OpenedVault, ServeError> {
    let (log, tables) = (&engines.log, &engines.tables);
    let given = config.node_key.as_ref().map(Secret::reveal);
    // In an empty log nothing was sealed with another key.
    let node_key = match log.head().position {
        0 => NodeKey::load_or_make(given, &config.data, ids)?,
        _ => match NodeKey::load(given, &config.data) {
            Err(NodeKeyError::Lost { .. }) => return Err(wrong_node_key(config, log).await?.into()),
            loaded => loaded?,
        },
    };
    // Nodes that find a shared log empty at the same time agree with its first event on the key of all.
    let first = Vault::first_row(&node_key, ids)?;
    let tenancy = setup::ensure_default_tenancy(log, ids, &[first]).await?;
    let keys = config.providers.as_deref().map(NamedProviders::keys).unwrap_or_default();
    // The tables have the default tenant, which may be among those that are named.
    wait_for_tables(tables, TABLES_WAIT_UNSAID, TABLES_WAIT_MAX).await?;
    let served = config.serves_tenants.resolve(&tables.load());
    let vault = Vault::serving(served.clone(), node_key, log.clone(), ids.clone(), keys);
    let key_check = match vault.key_check().await {
        Err(VaultError::OtherNodeKey { .. }) => return Err(wrong_node_key(config, log).await?.into()),
        key_check => key_check?,
    };
    if let Err(error) = vault.register().await {
        // The disk or the clock is at fault. This node has every key that it had before.
        tracing::warn!(%error, "this node was not registered for keys of tenants; the next start tries again");
    }
    Ok(OpenedVault { vault, served, key_check, tenancy })
}

/// Waits until the tables have every recorded change. What the start decides from older ones could not be undone: a node that
/// does not find a tenant that it serves gives up its copy of the tenant's key.
async fn wait_for_tables(tables: &TablesHandle, unsaid: Duration, max: Duration) -> Result<(), ServeError> {
    if tables.catch_up(unsaid).await {
        return Ok(());
    }
    tracing::warn!("the tables are behind the log: the start waits for them");
    if tables.catch_up(max.saturating_sub(unsaid)).await {
        return Ok(());
    }
    let seconds = max.as_secs();
    Err(format!(
        "the tables did not catch up with the log within {seconds} s, and no tenant can be served without them: look at \
         the log lines above, then start again"
    )
    .into())
}

/// The error for a node key that is not the folder's: it says which one is.
async fn wrong_node_key(config: &Config, log: &Log) -> Result<WrongNodeKey, LogError> {
    let [given, previous] = [&config.node_key, &config.previous_node_key].map(|key| key.as_ref().map(Secret::reveal));
    let stored = log.read(StoredSecrets::read).await?;
    Ok(match &config.database {
        Some(database) => WrongNodeKey::of_shared(&stored, &database.to_string(), previous),
        None => WrongNodeKey::find(&stored, &config.data, given, previous),
    })
}

#[cfg(test)]
mod tests {
    use events::ids::SystemRandom;
    use events::log::LogOptions;
    use events::time::{Clock, SystemClock};
    use projections::tables;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// Holds: bin.tables-first
    #[test]
    fn a_start_waits_for_tables_that_lag_and_ends_if_they_do_not_come() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let log = Log::open(folder.path(), LogOptions::new(Arc::clone(&clock))).expect("a log");
        let ids = IdMaker::new(clock, Arc::new(SystemRandom));
        // The tables follow the log only while their own runtime runs.
        let (starting, following) = (runtime(), runtime());
        let (tables, task) = following.block_on(tables::start(&log)).expect("tables");
        let waited = |millis| {
            starting.block_on(wait_for_tables(&tables, Duration::from_millis(20), Duration::from_millis(millis)))
        };
        waited(40).expect("nothing is recorded yet");
        let tenancy = starting.block_on(setup::ensure_default_tenancy(&log, &ids, &[])).expect("a tenancy");
        let refused = waited(40).expect_err("tables that lag").to_string();
        assert!(refused.contains("the tables did not catch up with the log"), "{refused}");
        std::thread::scope(|scope| {
            scope.spawn(|| following.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await }));
            waited(30_000).expect("tables that have caught up");
        });
        let tenant = tenancy.chain().tenant.expect("a tenant");
        assert!(tables.load().tenant(tenant).is_some());
        following.block_on(task.stop());
        log.close();
    }
}
