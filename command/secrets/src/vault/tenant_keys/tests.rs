//! Nodes with keys of their own on one database.

use std::sync::Arc;

use events::ids::{IdMaker, ProviderId, SystemRandom};
use events::time::SystemClock;
use events_log::{DatabaseAddress, Log, LogOptions};
use tempfile::TempDir;
use testing::postgres::TestDatabase;

use super::*;
use crate::reseal::{PreviousKey, StoredSecrets, reseal};
use crate::sealed_box::{secret_context, wrapped_row};
use crate::tenant_key::GrantedNode;
use crate::vault::Sealing;
use crate::{EnvironmentKeys, NodeKey, Secret, ServedTenants};

const SECRET: &str = "tenants-secret-9d3b51";

struct Lab {
    log: Log,
    ids: IdMaker,
    ours: TenantId,
    theirs: TenantId,
    provider: ProviderId,
    _folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).unwrap();
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let (ours, theirs, provider) = (ids.make(), ids.make(), ids.make());
        Self { log, ids, ours, theirs, provider, _folder: folder }
    }

    /// A node, which has the check key of the installation.
    fn node(&self, key: &NodeKey, served: ServedTenants) -> Arc<Vault> {
        let (log, ids) = (self.log.clone(), self.ids.clone());
        let node = Vault::serving(served, key.clone(), log, ids, EnvironmentKeys::default());
        node.check.set(first().derived_key_check()).unwrap();
        node
    }

    fn serving_all(&self) -> Arc<Vault> {
        self.node(&first(), ServedTenants::All)
    }

    async fn seal(&self, node: &Vault, tenant: TenantId, provider: ProviderId, secret: &str) -> Result<(), VaultError> {
        let mut sealing = Sealing::default();
        let rows = node.seal(&mut sealing, Some(tenant), provider, 1, &Secret::new(secret)).await?;
        node.store(rows).await
    }

    async fn opened(&self, node: &Vault) -> Result<String, VaultError> {
        Ok(node.open(None, self.provider, 1).await?.expect("it has a key").reveal().to_owned())
    }

    /// The nodes that have the key of `ours`.
    async fn holders(&self) -> Vec<String> {
        let tenant = self.ours.to_string();
        let rows = self.log.read(move |reader| reader.tenant_keys_of(&tenant)).await.unwrap();
        rows.into_iter().map(|row| row.node).collect()
    }
}

fn first() -> NodeKey {
    NodeKey::from_bytes(&[1; 32])
}

fn second() -> NodeKey {
    NodeKey::from_bytes(&[2; 32])
}

fn sorted(keys: &[&NodeKey]) -> Vec<String> {
    let mut names: Vec<_> = keys.iter().map(|key| key.fingerprint()).collect();
    names.sort();
    names
}

/// Holds: keys.tenant-key
#[tokio::test]
async fn a_node_without_the_grant_opens_nothing_with_the_whole_database_and_its_own_key() {
    let lab = Lab::new();
    let node = lab.serving_all();
    node.register().await.unwrap();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    assert_eq!(lab.opened(&node).await.unwrap(), SECRET);
    // Another node, whatever its configuration says.
    let other = lab.node(&second(), ServedTenants::All);
    assert!(matches!(lab.opened(&other).await, Err(VaultError::NotGranted { tenant }) if tenant == lab.ours));
    let sealed = lab.seal(&other, lab.ours, lab.provider, "x").await;
    assert!(matches!(sealed, Err(VaultError::NotGranted { .. })), "it would make a second key");
    // And whatever it tries with the rows.
    let check = first().derived_key_check();
    let stored = lab.log.read(|reader| Ok((reader.tenant_keys()?, reader.wrapped_keys()?))).await.unwrap();
    assert_eq!((stored.0.len(), stored.1.len()), (1, 0));
    for row in stored.0 {
        assert!(tenant_key::opened(&check, &second(), &row).is_none());
        let taken = TenantKey { node: second().fingerprint(), ..row.clone() };
        assert!(tenant_key::opened(&check, &second(), &taken).is_none());
        assert!(sealed_box::unwrap(&second(), &row.tenant, &row.wrapped).is_none());
        other.store(vec![SideRow::TenantKey(taken)]).await.unwrap();
    }
    assert!(matches!(lab.opened(&other).await, Err(VaultError::Unopenable { .. })));
}

/// Opens the log of a database as one of its nodes. Opening waits, which no thread of async tasks may.
fn shared_log(database: &TestDatabase, node: &str) -> Log {
    let address: DatabaseAddress = database.url().parse().unwrap();
    let options = LogOptions::new(Arc::new(SystemClock::new()));
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            Log::migrate_shared(&address).unwrap();
            Log::open_shared(&address, node, options).unwrap()
        });
        opening.join().unwrap()
    })
}

/// Each node finds that there is no data key yet, before the other one has stored its own.
///
/// Holds: keys.one-cluster
#[tokio::test]
async fn nodes_of_one_key_that_seal_at_the_same_time_open_what_each_other_sealed() {
    let database = TestDatabase::create();
    let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let node = |name: &str| Vault::new(first(), shared_log(&database, name), ids.clone(), EnvironmentKeys::default());
    let [one, other] = ["one", "other"].map(node);
    one.key_check().await.unwrap();
    for owner in [None, Some(ids.make())] {
        let [theirs, ours]: [ProviderId; 2] = [ids.make(), ids.make()];
        let [mut sealing, mut others_sealing] = [Sealing::default(), Sealing::default()];
        let sealed_by_one = one.seal(&mut sealing, owner, theirs, 1, &Secret::new("one")).await.unwrap();
        let sealed_by_other = other.seal(&mut others_sealing, owner, ours, 1, &Secret::new("other")).await.unwrap();
        drop((sealing, others_sealing));
        one.store(sealed_by_one).await.unwrap();
        other.store(sealed_by_other).await.unwrap();
        let later = node("later");
        for (provider, secret) in [(theirs, "one"), (ours, "other")] {
            let opened = later.open(None, provider, 1).await.unwrap();
            assert_eq!(opened, Some(Secret::new(secret)), "{owner:?}");
        }
    }
}

/// Holds: keys.tenant-key
#[tokio::test]
async fn a_node_that_gave_a_tenants_key_up_does_not_get_it_back_from_its_own_key() {
    let lab = Lab::new();
    let node = lab.serving_all();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    let platforms: ProviderId = lab.ids.make();
    let mut sealing = Sealing::default();
    let sealed = node.seal(&mut sealing, None, platforms, 1, &Secret::new(SECRET)).await.unwrap();
    node.store(sealed).await.unwrap();
    let stored = lab.log.read(|reader| reader.sealed_secrets()).await.unwrap();
    assert_eq!(stored.len(), 2);
    for secret in stored {
        let derived = cipher_of(first().first_data_key(&secret.key_scope));
        let context = secret_context(&secret.key_scope, &secret.subject, secret.generation);
        assert_eq!(sealed_box::open(&derived, &context, &secret.sealed), None, "{}", secret.key_scope);
    }
}

/// Holds: keys.tenant-key
#[tokio::test]
async fn a_tenants_key_is_passed_on_to_the_nodes_that_serve_the_tenant_alone() {
    let lab = Lab::new();
    let node = lab.serving_all();
    lab.node(&second(), ServedTenants::only([lab.theirs])).register().await.unwrap();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    node.register().await.unwrap();
    assert_eq!(lab.holders().await, [first().fingerprint()]);
    // From now on the other node serves the tenant.
    let other = lab.node(&second(), ServedTenants::only([lab.ours]));
    other.register().await.unwrap();
    assert!(matches!(lab.opened(&other).await, Err(VaultError::NotGranted { .. })));
    node.register().await.unwrap();
    assert_eq!(lab.holders().await, sorted(&[&first(), &second()]));
    assert_eq!(lab.opened(&other).await.unwrap(), SECRET);
    let position = lab.log.head().position;
    node.register().await.unwrap();
    assert_eq!(lab.log.head().position, position, "there was nothing to do");
    // A node that is registered when the key is made gets it at once.
    let provider = lab.ids.make();
    let third = lab.node(&NodeKey::from_bytes(&[3; 32]), ServedTenants::All);
    third.register().await.unwrap();
    lab.seal(&node, lab.theirs, provider, "theirs").await.unwrap();
    assert_eq!(third.open(None, provider, 1).await.unwrap().unwrap().reveal(), "theirs");
}

#[tokio::test]
async fn whoever_can_only_write_to_the_database_adds_no_node() {
    let lab = Lab::new();
    let node = lab.serving_all();
    let forged = nodes::registration(&second().derived_key_check(), &second(), "all");
    node.store(vec![SideRow::Node(forged)]).await.unwrap();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    node.register().await.unwrap();
    assert_eq!(lab.holders().await, [first().fingerprint()]);
}

/// Holds: keys.tenant-key
#[tokio::test]
async fn a_node_that_does_not_serve_a_tenant_neither_opens_nor_seals_and_keeps_the_last_copy() {
    let lab = Lab::new();
    lab.seal(&lab.serving_all(), lab.ours, lab.provider, SECRET).await.unwrap();
    let narrowed = lab.node(&first(), ServedTenants::only([lab.theirs]));
    narrowed.register().await.unwrap();
    assert!(matches!(lab.opened(&narrowed).await, Err(VaultError::NotServed { tenant }) if tenant == lab.ours));
    let sealed = lab.seal(&narrowed, lab.ours, lab.provider, "x").await;
    assert!(matches!(sealed, Err(VaultError::NotServed { .. })));
    assert_eq!(lab.holders().await, [first().fingerprint()], "nobody else has it");
    assert_eq!(lab.opened(&lab.serving_all()).await.unwrap(), SECRET);
    // Once another node has it, it is given up.
    lab.node(&second(), ServedTenants::All).register().await.unwrap();
    lab.serving_all().register().await.unwrap();
    narrowed.register().await.unwrap();
    assert_eq!(lab.holders().await, [second().fingerprint()]);
}

/// Holds: keys.tenant-key
#[tokio::test]
async fn a_key_that_an_earlier_version_wrapped_still_opens_and_moves_when_a_secret_is_set() {
    let lab = Lab::new();
    let node = lab.serving_all();
    // As that version stored them.
    let (scope, key) = (lab.ours.to_string(), [7; 32]);
    let context = secret_context(&scope, &lab.provider.to_string(), 1);
    let sealed = sealed_box::seal(&cipher_of(key), &lab.ids.bytes(), &context, SECRET.as_bytes()).unwrap();
    let secret =
        events_log::SealedSecret { subject: lab.provider.to_string(), key_scope: scope.clone(), generation: 1, sealed };
    let wrapped = wrapped_row(&first(), &lab.ids, &scope, &key).unwrap();
    node.store(vec![wrapped, SideRow::SealedSecret(secret)]).await.unwrap();
    assert_eq!(lab.opened(&node).await.unwrap(), SECRET);
    let another = lab.ids.make();
    lab.seal(&node, lab.ours, another, "another").await.unwrap();
    let left = lab.log.read(|reader| reader.wrapped_keys()).await.unwrap();
    assert!(left.is_empty() && lab.holders().await.len() == 1, "{left:?}");
    let restarted = lab.serving_all();
    assert_eq!(lab.opened(&restarted).await.unwrap(), SECRET);
    assert_eq!(restarted.open(None, another, 1).await.unwrap().unwrap().reveal(), "another");
}

/// A database of a version that wrapped tenants' keys with age: the rows of two nodes, of which the second serves one tenant alone.
///
/// Holds: keys.tenant-key, bin.reseal
#[tokio::test]
async fn tenants_keys_that_were_wrapped_with_age_open_are_passed_on_and_are_replaced_by_a_reseal() {
    const ROWS: &str = include_str!("../../golden/rows_with_age_files.json");
    let rows: serde_json::Value = serde_json::from_str(ROWS).unwrap();
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let bytes = |row: &serde_json::Value, field: &str| events::hex::bytes(row[field].as_str().unwrap()).unwrap();
    let all = |table: &str| rows[table].as_array().unwrap().clone();
    let nodes = all("nodes").into_iter().map(|row| {
        let [node, recipient, serves] = ["node", "recipient", "serves"].map(|field| text(&row, field));
        RegisteredNode { node, recipient, serves, tag: bytes(&row, "tag") }
    });
    let keys = all("tenant_keys").into_iter().map(|row| {
        let [tenant, node] = ["tenant", "node"].map(|field| text(&row, field));
        TenantKey { tenant, node, wrapped: bytes(&row, "wrapped") }
    });
    let secret = &all("sealed_secrets")[0];
    let [subject, key_scope] = ["subject", "key_scope"].map(|field| text(secret, field));
    let (provider, ours) = (subject.parse().unwrap(), key_scope.parse().unwrap());
    let secret = events_log::SealedSecret { subject, key_scope, generation: 1, sealed: bytes(secret, "sealed") };
    let (registered, granted): (Vec<_>, Vec<_>) = (nodes.collect(), keys.collect());
    let is_age = |row: &TenantKey| row.wrapped.starts_with(b"age-encryption.org/v1\n");
    assert!(granted.len() == 2 && granted.iter().all(is_age));

    let lab = Lab { provider, ours, ..Lab::new() };
    let node = lab.serving_all();
    let grants = granted.iter().cloned().map(SideRow::TenantKey);
    let side = registered.iter().cloned().map(SideRow::Node).chain(grants).chain([SideRow::SealedSecret(secret)]);
    node.store(side.collect()).await.unwrap();
    let other = || lab.node(&second(), ServedTenants::only([lab.ours]));
    for node in [&node, &other()] {
        assert_eq!(lab.opened(node).await.unwrap(), SECRET);
        node.register().await.unwrap();
    }
    let (nodes, keys) = lab.log.read(|reader| Ok((reader.nodes()?, reader.tenant_keys()?))).await.unwrap();
    assert_eq!((nodes, keys), (registered, granted), "there was nothing to do");
    // A third node gets the key in the present form, and a reseal replaces both of the others.
    let third = NodeKey::from_bytes(&[3; 32]);
    let serving = lab.node(&third, ServedTenants::All);
    serving.register().await.unwrap();
    node.register().await.unwrap();
    assert_eq!(lab.opened(&serving).await.unwrap(), SECRET);
    let stored = lab.log.read(StoredSecrets::read).await.unwrap();
    let new = NodeKey::from_bytes(&[4; 32]);
    let done = reseal(&lab.log, &stored, PreviousKey::Known(&first()), &new, &lab.ids).await.unwrap();
    assert_eq!(done.resealed, [lab.provider.to_string()]);
    let keys = lab.log.read(|reader| reader.tenant_keys()).await.unwrap();
    assert!(keys.len() == 3 && !keys.iter().any(is_age));
    for node in [lab.node(&new, ServedTenants::All), other(), lab.node(&third, ServedTenants::All)] {
        assert_eq!(lab.opened(&node).await.unwrap(), SECRET);
    }
}

/// Holds: keys.tenant-key, bin.reseal
#[tokio::test]
async fn a_reseal_gives_the_new_node_key_what_the_old_one_had_and_other_nodes_a_new_tenant_key() {
    let lab = Lab::new();
    let (node, other) = (lab.serving_all(), lab.node(&second(), ServedTenants::only([lab.ours])));
    node.register().await.unwrap();
    other.register().await.unwrap();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    // A secret that only the other node can open stays as it is.
    let (foreign, check) = (lab.ids.make::<ProviderId>(), first().derived_key_check());
    let recipient = second().identity.to_public();
    let tenant = lab.theirs.to_string();
    let granted = tenant_key::granted(
        &check,
        &lab.ids,
        &tenant,
        GrantedNode { node: &second().fingerprint(), recipient: &recipient },
        &[8; 32],
    )
    .unwrap();
    let context = secret_context(&tenant, &foreign.to_string(), 1);
    let sealed = sealed_box::seal(&cipher_of([8; 32]), &lab.ids.bytes(), &context, b"foreign").unwrap();
    let secret = events_log::SealedSecret { subject: foreign.to_string(), key_scope: tenant, generation: 1, sealed };
    node.store(vec![granted, SideRow::SealedSecret(secret)]).await.unwrap();

    let before = lab.log.read(|reader| reader.tenant_keys()).await.unwrap();
    let of_ours = |rows: &[TenantKey], key: &NodeKey| {
        let row = rows.iter().find(|row| row.tenant == lab.ours.to_string() && row.node == key.fingerprint());
        row.and_then(|row| tenant_key::opened(&check, key, row))
    };
    let new = NodeKey::from_bytes(&[4; 32]);
    let stored = lab.log.read(StoredSecrets::read).await.unwrap();
    let done = reseal(&lab.log, &stored, PreviousKey::Known(&first()), &new, &lab.ids).await.unwrap();
    assert_eq!(done.resealed, [lab.provider.to_string()]);
    let after = lab.log.read(|reader| reader.tenant_keys()).await.unwrap();
    let (old, ours, others) = (of_ours(&before, &first()), of_ours(&after, &new), of_ours(&after, &second()));
    assert!(ours.is_some() && ours == others && old != ours, "the key is new, and both nodes have it");
    assert!(of_ours(&after, &first()).is_none());
    assert_eq!(lab.opened(&lab.node(&new, ServedTenants::All)).await.unwrap(), SECRET);
    assert_eq!(lab.opened(&lab.node(&second(), ServedTenants::All)).await.unwrap(), SECRET);
    let with_the_old_one = lab.opened(&lab.serving_all()).await;
    assert!(matches!(with_the_old_one, Err(VaultError::NotGranted { .. })), "{with_the_old_one:?}");
    let other = lab.node(&second(), ServedTenants::All);
    assert_eq!(other.open(None, foreign, 1).await.unwrap().unwrap().reveal(), "foreign");
    let registered = lab.log.read(|reader| reader.nodes()).await.unwrap();
    assert_eq!(registered.into_iter().map(|node| node.node).collect::<Vec<_>>(), sorted(&[&new, &second()]));
}

/// Holds: bin.reseal-lost
#[tokio::test]
async fn without_the_old_key_no_tenants_key_is_left() {
    let lab = Lab::new();
    let node = lab.serving_all();
    node.register().await.unwrap();
    lab.seal(&node, lab.ours, lab.provider, SECRET).await.unwrap();
    let new = NodeKey::from_bytes(&[4; 32]);
    let stored = lab.log.read(StoredSecrets::read).await.unwrap();
    reseal(&lab.log, &stored, PreviousKey::Lost, &new, &lab.ids).await.unwrap();
    assert!(lab.holders().await.is_empty());
    let restarted = Vault::new(new, lab.log.clone(), lab.ids.clone(), EnvironmentKeys::default());
    assert!(matches!(lab.opened(&restarted).await, Err(VaultError::GivenUp { .. })));
    restarted.register().await.unwrap();
    lab.seal(&restarted, lab.ours, lab.provider, "again").await.unwrap();
    assert_eq!(lab.opened(&restarted).await.unwrap(), "again");
}
