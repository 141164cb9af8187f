//! Tests on a log with the secrets that a gateway seals: the check key of API keys, and a provider's API key.

use std::sync::Arc;

use events::event::{Change, Recorded};
use events::ids::{ProviderId, SystemRandom};
use events::time::SystemClock;
use events_log::{Basis, LogOptions};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::vault::Sealing;
use crate::vault::log_key::LogKeyError;
use crate::{EnvironmentKeys, KeyCheck, Secret, SecretId, Vault, VaultError};

const SECRET: &str = "provider-secret-77b0c2";

fn new_key() -> NodeKey {
    NodeKey::from_bytes(&[9; 32])
}

struct Lab {
    log: Log,
    ids: IdMaker,
    vault: Arc<Vault>,
    _folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).unwrap();
        let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let vault = Vault::new(node_key(), log.clone(), ids.clone(), EnvironmentKeys::default());
        Self { log, ids, vault, _folder: folder }
    }

    async fn last_event(&self) -> Recorded {
        let head = self.log.head().position;
        self.log.read(move |reader| reader.after(head - 1, 1)).await.unwrap().remove(0)
    }
}

fn node_key() -> NodeKey {
    NodeKey::from_bytes(&[5; 32])
}

/// A lab whose log has a check key and a provider's secret; and the signature of an API key.
async fn used() -> (Lab, ProviderId, Vec<u8>) {
    let lab = Lab::new();
    let check = lab.vault.key_check().await.unwrap();
    let id: ProviderId = lab.ids.make();
    let provider = json!({
        "provider_id": id, "name": "o", "kind": "openai", "allow_private_network": false, "timeout_ms": 1,
        "idle_timeout_ms": 1, "headers": {}, "output_cap_field": "max_tokens", "secret_generation": 1,
    });
    let mut sealing = Sealing::default();
    let side = lab.vault.seal(&mut sealing, None, id, 1, &Secret::new(SECRET)).await.unwrap();
    let created = Change::Created(Box::new(serde_json::from_value(provider).unwrap()));
    let append = Append {
        stream: Stream::new(StreamKind::Provider, id.to_string()),
        expected_sequence: 0,
        events: vec![Event::Resource(Resource::Provider(created))],
        context: Context::of(Actor::Operator),
        side,
        idempotency: None,
        basis: Basis::default(),
    };
    lab.log.append(append).await.unwrap();
    (lab, id, signature(&check))
}

async fn stored(lab: &Lab) -> StoredSecrets {
    lab.log.read(StoredSecrets::read).await.unwrap()
}

async fn resealed(lab: &Lab, previous: PreviousKey<'_>, new: &NodeKey) -> Result<Resealed, ResealError> {
    reseal(&lab.log, &stored(lab).await, previous, new, &lab.ids).await
}

fn vault(lab: &Lab, key: NodeKey) -> Arc<Vault> {
    Vault::new(key, lab.log.clone(), lab.ids.clone(), EnvironmentKeys::default())
}

/// The signature of an API key that was issued.
fn signature(check: &KeyCheck) -> Vec<u8> {
    check.sign("sgk_of_somebody").as_ref().to_vec()
}

fn is_checked(signed: &[u8], check: &KeyCheck) -> bool {
    signed == signature(check)
}

/// Holds: bin.reseal
#[tokio::test]
async fn everything_opens_under_the_new_key_only_and_issued_api_keys_pass_the_same_check() {
    let (lab, provider, key) = used().await;
    let before = lab.log.head().position;
    let done = resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    assert_eq!((done.position, &done.resealed), (before + 1, &vec![provider.to_string()]));
    assert_eq!(done.discarded, Vec::new());
    let (now, after) = (vault(&lab, new_key()), stored(&lab).await);
    assert_eq!(now.open(None, provider, 1).await.unwrap().unwrap().reveal(), SECRET);
    assert!(is_checked(&key, &now.key_check().await.unwrap()));
    assert!(after.opens_under(&new_key()) && !after.opens_under(&node_key()));
    let with_the_old_one = vault(&lab, node_key());
    assert!(matches!(with_the_old_one.open(None, provider, 1).await, Err(VaultError::Unopenable { .. })));
    assert!(matches!(with_the_old_one.key_check().await, Err(VaultError::OtherNodeKey { .. })));
    let last = lab.last_event().await;
    let Event::Resource(Resource::NodeKeyReplaced(replaced)) = &last.event else { panic!("{last:?}") };
    let fingerprints = (replaced.node_key.clone(), replaced.previous.clone());
    assert_eq!(fingerprints, (new_key().fingerprint(), Some(node_key().fingerprint())));
    assert_eq!((replaced.resealed, replaced.discarded), (1, 0));
    assert_eq!((&last.context.actor, last.stream.id.as_str()), (&Actor::System("reseal"), replaced.node_key.as_str()));
    // The old key can come back into use.
    resealed(&lab, PreviousKey::Known(&new_key()), &node_key()).await.unwrap();
    resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    assert_eq!(lab.last_event().await.sequence, 2);
    assert!(is_checked(&key, &vault(&lab, new_key()).key_check().await.unwrap()));
}

/// Signatures by the key are public, so it stays as long as anybody can open it.
#[tokio::test]
async fn the_key_of_the_published_log_stays_until_the_nodes_key_is_lost() {
    let (lab, ..) = used().await;
    let first = lab.vault.log_signer(Vec::new(), None).await.unwrap();
    let (public, known) = (first.signer.verifier_key().to_string(), first.keys);
    resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    let same = vault(&lab, new_key()).log_signer(known.clone(), None).await.unwrap();
    assert_eq!((same.signer.verifier_key().to_string(), &same.keys), (public.clone(), &known));
    resealed(&lab, PreviousKey::Lost, &node_key()).await.unwrap();
    let next = vault(&lab, node_key()).log_signer(known.clone(), None).await.unwrap();
    assert_ne!(next.signer.verifier_key().to_string(), public);
    let of_generation = |generation| next.keys.iter().find(|key| key.generation == generation).expect("a key");
    assert_eq!((next.keys.len(), &of_generation(1).origin), (2, &of_generation(2).origin));
    // Another node that does not know the second one yet finds it.
    let found = vault(&lab, node_key()).log_signer(known, None).await.unwrap();
    assert_eq!(found.keys, next.keys);
    let other = "gateway.example/other".parse().unwrap();
    assert!(vault(&lab, node_key()).log_signer(found.keys, Some(other)).await.is_err(), "its name never changes");
}

/// The checkpoint that leads from one key to the next is signed by both.
#[tokio::test]
async fn all_keys_of_the_published_log_open_after_a_reseal_and_only_a_node_that_opens_the_newest_makes_another() {
    let (lab, ..) = used().await;
    let first = lab.vault.log_signer(Vec::new(), None).await.unwrap().keys.remove(0);
    let (second, append) = lab.vault.next_log_key(&first.origin).await.unwrap();
    assert_eq!((&second.origin, second.generation), (&first.origin, 2));
    // Of two that are made at the same time, one is recorded.
    let (_, at_once) = lab.vault.next_log_key(&first.origin).await.unwrap();
    lab.log.append(append).await.unwrap();
    assert!(matches!(lab.log.append(at_once).await, Err(AppendError::OptimisticLock)));
    resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    let (current, outdated) = (vault(&lab, new_key()), vault(&lab, node_key()));
    for key in [&first, &second] {
        let opened = current.open_log_key(key).await.unwrap().expect("it opens");
        assert_eq!(opened.verifier_key().to_string(), key.verifier_key);
        assert!(outdated.open_log_key(key).await.unwrap().is_none());
    }
    assert!(matches!(outdated.next_log_key(&first.origin).await, Err(LogKeyError::NotOpened)));
    assert!(matches!(current.next_log_key("gateway.example/other").await, Err(LogKeyError::None)));
    assert_eq!(current.next_log_key(&first.origin).await.unwrap().0.generation, 3);
}

/// One of two nodes that begin at the same time is first.
#[tokio::test]
async fn the_first_key_names_the_published_log_and_stays_what_it_was() {
    let (lab, ..) = used().await;
    let [given, other] = ["gateway.example/ledger", "gateway.example/other"].map(|name| name.parse().unwrap());
    let first = lab.vault.log_signer(Vec::new(), Some(given)).await.unwrap();
    // It does not know the first one yet, and records one of its own.
    let second = lab.vault.log_signer(Vec::new(), Some(other)).await;
    assert!(matches!(second.err(), Some(LogKeyError::OtherOrigin { .. })));
    let found = lab.vault.log_signer(first.keys.clone(), None).await.unwrap();
    assert_eq!(found.signer.verifier_key(), first.signer.verifier_key());
    let unaware = lab.vault.log_signer(Vec::new(), None).await.unwrap();
    assert_eq!((unaware.signer.verifier_key(), unaware.keys), (first.signer.verifier_key(), first.keys));
}

/// The old key with an old database must not open a newer database.
/// Holds: bin.reseal
#[tokio::test]
async fn no_old_data_key_opens_what_is_sealed_after_a_reseal() {
    let (lab, provider, _) = used().await;
    let old = stored(&lab).await;
    let (scope, wrapped) = old.wrapped.iter().find(|(scope, _)| scope == "platform").unwrap();
    let data_key = XChaCha20Poly1305::new((&sealed_box::unwrap(&node_key(), scope, wrapped).unwrap()).into());
    resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    let opened = |stored: &StoredSecrets| {
        let secret = stored.secrets.first().unwrap();
        sealed_box::open(&data_key, &secret_context(scope, &provider.to_string(), secret.generation), &secret.sealed)
    };
    assert_eq!((opened(&old).as_deref(), opened(&stored(&lab).await)), (Some(SECRET.as_bytes()), None));
}

/// Holds: bin.reseal-lost
#[tokio::test]
async fn a_reseal_without_the_old_key_leaves_no_old_secret_to_open() {
    let (lab, provider, key) = used().await;
    let done = resealed(&lab, PreviousKey::Lost, &new_key()).await.unwrap();
    let keyless = vec![KeylessProvider { id: provider.to_string(), name: Some("o".to_owned()) }];
    assert_eq!((done.resealed, &done.discarded), (Vec::new(), &keyless));
    let (now, after) = (vault(&lab, new_key()), stored(&lab).await);
    assert!(after.secrets.iter().all(|secret| secret.sealed.is_empty()) && after.opens_under(&new_key()));
    assert!(
        matches!(now.open(None, provider, 1).await, Err(VaultError::GivenUp { .. })),
        "it is not as if it had none"
    );
    assert_eq!(lab.log.read(keyless::all).await.unwrap(), keyless);
    assert!(!is_checked(&key, &now.key_check().await.unwrap()));
    assert!(!is_checked(&key, &new_key().derived_key_check()));
    let last = lab.last_event().await;
    let Event::Resource(Resource::NodeKeyReplaced(replaced)) = &last.event else { panic!("{last:?}") };
    assert_eq!((&replaced.previous, replaced.resealed, replaced.discarded), (&None, 0, 1));
    // Secrets that were given up stay so, and do not stop another reseal.
    let (third, fourth) = (NodeKey::from_bytes(&[3; 32]), NodeKey::from_bytes(&[4; 32]));
    let again = resealed(&lab, PreviousKey::Known(&new_key()), &third).await.unwrap();
    assert_eq!((again.resealed, again.discarded), (Vec::new(), Vec::new()));
    assert_eq!(resealed(&lab, PreviousKey::Lost, &fourth).await.unwrap().discarded, Vec::new());
    assert_eq!(lab.log.read(keyless::all).await.unwrap(), keyless);
}

/// Holds: bin.reseal, bin.reseal-lost
#[tokio::test]
async fn secret_headers_are_resealed_and_given_up_with_the_key_of_their_provider() {
    let (lab, provider, _) = used().await;
    let headers = SecretId::Headers(provider);
    let side = lab.vault.seal(&mut Sealing::default(), None, headers, 1, &Secret::new(SECRET)).await.unwrap();
    let stream = Stream::new(StreamKind::Provider, provider.to_string());
    let append = Append { side, ..Append::new(stream, 1, Vec::new(), Context::of(Actor::Operator)) };
    lab.log.append(append).await.unwrap();
    let done = resealed(&lab, PreviousKey::Known(&node_key()), &new_key()).await.unwrap();
    assert_eq!(done.resealed, [provider.to_string()]);
    assert_eq!(vault(&lab, new_key()).open(None, headers, 1).await.unwrap().unwrap().reveal(), SECRET);
    let third = NodeKey::from_bytes(&[3; 32]);
    let done = resealed(&lab, PreviousKey::Lost, &third).await.unwrap();
    assert_eq!(done.discarded, [KeylessProvider { id: provider.to_string(), name: Some("o".to_owned()) }]);
    let refused = vault(&lab, third).open(None, headers, 1).await;
    assert!(matches!(refused, Err(VaultError::GivenUp { .. })), "{refused:?}");
}

/// Holds: bin.reseal
#[tokio::test]
async fn with_a_wrong_key_or_a_damaged_box_nothing_is_changed() {
    let (lab, provider, _) = used().await;
    let wrong = resealed(&lab, PreviousKey::Known(&NodeKey::from_bytes(&[1; 32])), &new_key()).await;
    assert!(matches!(wrong, Err(ResealError::WrongPreviousKey { .. })), "{wrong:?}");
    let mut damaged = stored(&lab).await;
    damaged.secrets[0].sealed[40] ^= 1;
    let key = node_key();
    let refused = reseal(&lab.log, &damaged, PreviousKey::Known(&key), &new_key(), &lab.ids).await;
    assert!(
        matches!(&refused, Err(ResealError::Damaged { subject }) if *subject == provider.to_string()),
        "{refused:?}"
    );
    assert!(stored(&lab).await.opens_under(&node_key()));
    assert_eq!(lab.vault.open(None, provider, 1).await.unwrap().unwrap().reveal(), SECRET);
}

#[tokio::test]
async fn a_log_without_wrapped_keys_tells_no_key_from_another() {
    let lab = Lab::new();
    let nothing = stored(&lab).await;
    assert!(!nothing.has_wrapped_keys() && !nothing.opens_under(&node_key()));
    lab.vault.key_check().await.unwrap();
    let kept = stored(&lab).await;
    assert!(kept.has_wrapped_keys() && kept.opens_under(&node_key()) && !kept.opens_under(&new_key()));
    let one = StoredSecrets {
        wrapped: [kept.wrapped, vec![("platform".to_owned(), vec![0; 80])]].concat(),
        secrets: Vec::new(),
        tenant_keys: Vec::new(),
        nodes: Vec::new(),
    };
    assert!(!one.opens_under(&node_key()), "all of it has to open");
}
