//! The resources that a gateway creates itself.

use std::sync::Arc;

use events::event::Actor;
use events::ids::{IdMaker, SystemRandom};
use events::time::{Clock, SystemClock};
use events_log::{Log, LogOptions};
use secrets::{EnvironmentKeys, NodeKey, Vault, VaultError};

use super::lab::Lab;
use crate::admin::setup::{DEV_KEY_FILE, ensure_default_tenancy, ensure_dev};

/// Holds: bin.default-tenancy
#[tokio::test]
async fn the_default_tenancy_is_the_logs_first_three_events_and_stays() {
    let lab = Lab::new().await;
    let again = ensure_default_tenancy(&lab.admin.log, &lab.admin.ids, &[]).await.unwrap();
    assert_eq!(again, lab.tenancy);
    let events = lab.events().await;
    let names: Vec<_> = events.iter().map(|recorded| recorded.event.name()).collect();
    assert_eq!(names, ["partner.created", "tenant.created", "user.created"]);
    assert!(events.iter().all(|recorded| recorded.context.actor == Actor::System("setup")));
    assert_eq!(events[2].context.tenant_id, Some(lab.tenancy.tenant));
}

/// Holds: bin.default-tenancy, keys.one-cluster
#[tokio::test]
async fn of_nodes_that_start_at_once_one_creates_the_tenancy_and_decides_the_key_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let log = Log::open(folder.path(), LogOptions::new(Arc::clone(&clock))).unwrap();
    let ids = IdMaker::new(clock, Arc::new(SystemRandom));
    let keys: [NodeKey; 8] = std::array::from_fn(|number| NodeKey::from_bytes(&[number as u8; 32]));
    let starts = keys.iter().map(|key| async {
        let first = Vault::first_row(key, &ids).unwrap();
        ensure_default_tenancy(&log, &ids, &[first]).await.unwrap()
    });
    let found = futures_util::future::join_all(starts).await;
    assert!(found.iter().all(|tenancy| tenancy == &found[0]), "{found:?}");
    let events = log.read(|reader| reader.after(0, 100)).await.unwrap();
    let names: Vec<_> = events.iter().map(|recorded| recorded.event.name()).collect();
    assert_eq!(names, ["partner.created", "tenant.created", "user.created"]);
    let mut accepted = 0;
    for key in keys {
        let vault = Vault::new(key, log.clone(), ids.clone(), EnvironmentKeys::default());
        match vault.key_check().await {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, VaultError::OtherNodeKey { .. }), "{error}"),
        }
    }
    assert_eq!(accepted, 1, "the key of the node that was first");
}

/// Holds: bin.dev
#[tokio::test]
async fn a_second_dev_start_adds_nothing_while_its_key_works() {
    let lab = Lab::new().await;
    let dev = ensure_dev(&lab.admin, &lab.tenancy, lab.folder.path()).await.unwrap();
    assert_eq!(dev.path, lab.folder.path().join(DEV_KEY_FILE));
    let secret = std::fs::read_to_string(&dev.path).unwrap();
    let caller = lab.caller(secret.trim()).await.unwrap();
    let tables = lab.admin.tables.load();
    for model in ["sim-small", "sim-large"] {
        let route = tables.route(caller.chain.tenant, model).unwrap();
        let target = &route.value.targets[0];
        assert!(tables.price_in_force(target.provider_id, &target.model, lab.admin.clock.now()).is_some(), "{model}");
    }
    let budgets = tables.budgets_for(&caller.chain, std::iter::empty());
    assert_eq!(budgets.iter().map(|budget| budget.value.limit_usd.to_string()).collect::<Vec<_>>(), ["5.000000000"]);
    let events = lab.events().await.len();
    assert_eq!(ensure_dev(&lab.admin, &lab.tenancy, lab.folder.path()).await.unwrap(), dev);
    assert_eq!(lab.events().await.len(), events);
    assert_eq!(std::fs::read_to_string(&dev.path).unwrap(), secret);
}

#[tokio::test]
async fn a_dev_key_that_does_not_work_any_more_is_replaced_and_the_rest_is_kept() {
    let lab = Lab::new().await;
    let dev = ensure_dev(&lab.admin, &lab.tenancy, lab.folder.path()).await.unwrap();
    let events = lab.events().await.len();
    std::fs::write(&dev.path, "sgk_garbage\n").unwrap();
    ensure_dev(&lab.admin, &lab.tenancy, lab.folder.path()).await.unwrap();
    let added: Vec<_> = lab.events().await.iter().skip(events).map(|recorded| recorded.event.name()).collect();
    assert_eq!(added, ["key.created", "budget.opened"]);
    lab.caller(std::fs::read_to_string(&dev.path).unwrap().trim()).await.unwrap();
}
