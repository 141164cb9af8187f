use events::event::{Actor, Resource};
use events::ids::ProviderId;
use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;
use crate::auth::token::Token;
use crate::secrets::{KeyCheck, Vault, VaultError};

const SECRET: &str = "provider-secret-77b0c2";

fn new_key() -> NodeKey {
    NodeKey::from_bytes(&[9; 32])
}

/// A lab whose log keeps what API keys are checked with, a provider's secret and an API key.
async fn used() -> (Lab, ProviderId, String) {
    let lab = Lab::new().await;
    lab.admin.vault.key_check().await.unwrap();
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET});
    let provider = lab.make("/providers", body).await.parse().unwrap();
    let key = lab.made("/keys", json!({"name": "app"})).await["secret"].as_str().unwrap().to_owned();
    (lab, provider, key)
}

async fn stored(lab: &Lab) -> Stored {
    Stored::read(&lab.admin.log).await.unwrap()
}

async fn resealed(lab: &Lab, previous: Previous<'_>, new: &NodeKey) -> Result<Resealed, ResealError> {
    reseal(&lab.admin.log, &stored(lab).await, previous, new, &lab.admin.ids).await
}

fn vault(lab: &Lab, key: NodeKey) -> std::sync::Arc<Vault> {
    Vault::new(key, lab.admin.log.clone(), lab.admin.ids.clone())
}

fn is_checked(key: &str, check: &KeyCheck) -> bool {
    Token::parse(key).unwrap().is_ours(check)
}

/// Holds: bin.reseal
#[tokio::test]
async fn everything_opens_under_the_new_key_alone_and_given_keys_are_known_by_the_same_check() {
    let (lab, provider, key) = used().await;
    let before = lab.admin.log.head().position;
    let done = resealed(&lab, Previous::Key(&lab.node_key()), &new_key()).await.unwrap();
    assert_eq!((done.position, &done.resealed), (before + 1, &vec![provider.to_string()]));
    assert_eq!(done.discarded, Vec::new());
    let (now, after) = (vault(&lab, new_key()), stored(&lab).await);
    assert_eq!(now.open(provider, 1).await.unwrap().unwrap().reveal(), SECRET);
    assert!(is_checked(&key, &now.key_check().await.unwrap()));
    assert!(after.is_under(&new_key()) && !after.is_under(&lab.node_key()));
    let with_the_old_one = vault(&lab, lab.node_key());
    assert!(matches!(with_the_old_one.open(provider, 1).await, Err(VaultError::Unopenable { .. })));
    assert!(matches!(with_the_old_one.key_check().await, Err(VaultError::OtherNodeKey { .. })));
    let events = lab.events().await;
    let last = events.last().unwrap();
    let Event::Resource(Resource::NodeKeyReplaced(replaced)) = &last.event else { panic!("{last:?}") };
    let fingerprints = (replaced.node_key.clone(), replaced.previous.clone());
    assert_eq!(fingerprints, (new_key().fingerprint(), Some(lab.node_key().fingerprint())));
    assert_eq!((replaced.resealed, replaced.discarded), (1, 0));
    assert_eq!((&last.context.actor, last.stream.id.as_str()), (&Actor::System("reseal"), replaced.node_key.as_str()));
    // And back to a key that was in use before.
    resealed(&lab, Previous::Key(&new_key()), &lab.node_key()).await.unwrap();
    resealed(&lab, Previous::Key(&lab.node_key()), &new_key()).await.unwrap();
    assert_eq!(lab.events().await.last().unwrap().sequence, 2);
    assert!(is_checked(&key, &vault(&lab, new_key()).key_check().await.unwrap()));
}

/// Who had the old key and an old database must not open what a newer database holds.
/// Holds: bin.reseal
#[tokio::test]
async fn no_data_key_of_before_opens_what_is_sealed_now() {
    let (lab, provider, _) = used().await;
    let old = stored(&lab).await;
    let (scope, wrapped) = old.wrapped.iter().find(|(scope, _)| scope == "platform").unwrap();
    let data_key = XChaCha20Poly1305::new((&boxes::unwrap(&lab.node_key(), scope, wrapped).unwrap()).into());
    resealed(&lab, Previous::Key(&lab.node_key()), &new_key()).await.unwrap();
    let opened = |stored: &Stored| {
        let secret = stored.secrets.first().unwrap();
        boxes::open(&data_key, &secret_binding(scope, &provider.to_string(), secret.generation), &secret.sealed)
    };
    assert_eq!((opened(&old).as_deref(), opened(&stored(&lab).await)), (Some(SECRET.as_bytes()), None));
}

/// Holds: bin.reseal-lost
#[tokio::test]
async fn without_the_old_key_nothing_of_before_is_left_to_open() {
    let (lab, provider, key) = used().await;
    let done = resealed(&lab, Previous::Lost, &new_key()).await.unwrap();
    let keyless = vec![KeylessProvider { id: provider.to_string(), name: Some("o".to_owned()) }];
    assert_eq!((done.resealed, &done.discarded), (Vec::new(), &keyless));
    let (now, after) = (vault(&lab, new_key()), stored(&lab).await);
    assert!(after.secrets.iter().all(|secret| secret.sealed.is_empty()) && after.is_under(&new_key()));
    assert!(matches!(now.open(provider, 1).await, Err(VaultError::GivenUp { .. })), "it is not as if it had none");
    assert_eq!(lab.admin.log.read(keyless::all).await.unwrap(), keyless);
    assert!(!is_checked(&key, &now.key_check().await.unwrap()));
    assert!(!is_checked(&key, &new_key().derived_key_check()));
    let events = lab.events().await;
    let Event::Resource(Resource::NodeKeyReplaced(replaced)) = &events.last().unwrap().event else {
        panic!("{:?}", events.last())
    };
    assert_eq!((&replaced.previous, replaced.resealed, replaced.discarded), (&None, 0, 1));
    // What was given up once stays so, and is in nobody's way.
    let (third, fourth) = (NodeKey::from_bytes(&[3; 32]), NodeKey::from_bytes(&[4; 32]));
    let again = resealed(&lab, Previous::Key(&new_key()), &third).await.unwrap();
    assert_eq!((again.resealed, again.discarded), (Vec::new(), Vec::new()));
    assert_eq!(resealed(&lab, Previous::Lost, &fourth).await.unwrap().discarded, Vec::new());
    assert_eq!(lab.admin.log.read(keyless::all).await.unwrap(), keyless);
}

/// Holds: bin.reseal
#[tokio::test]
async fn with_a_wrong_key_or_a_damaged_box_nothing_is_changed() {
    let (lab, provider, _) = used().await;
    let wrong = resealed(&lab, Previous::Key(&NodeKey::from_bytes(&[1; 32])), &new_key()).await;
    assert!(matches!(wrong, Err(ResealError::WrongPrevious { .. })), "{wrong:?}");
    let mut damaged = stored(&lab).await;
    damaged.secrets[0].sealed[40] ^= 1;
    let key = lab.node_key();
    let refused = reseal(&lab.admin.log, &damaged, Previous::Key(&key), &new_key(), &lab.admin.ids).await;
    assert!(
        matches!(&refused, Err(ResealError::Damaged { subject }) if *subject == provider.to_string()),
        "{refused:?}"
    );
    assert!(stored(&lab).await.is_under(&lab.node_key()));
    assert_eq!(lab.admin.vault.open(provider, 1).await.unwrap().unwrap().reveal(), SECRET);
}

#[tokio::test]
async fn what_holds_nothing_tells_no_key_from_another() {
    let lab = Lab::new().await;
    let nothing = stored(&lab).await;
    assert!(!nothing.can_tell() && !nothing.is_under(&lab.node_key()));
    lab.admin.vault.key_check().await.unwrap();
    let kept = stored(&lab).await;
    assert!(kept.can_tell() && kept.is_under(&lab.node_key()) && !kept.is_under(&new_key()));
    let one =
        Stored { wrapped: [kept.wrapped, vec![("platform".to_owned(), vec![0; 80])]].concat(), secrets: Vec::new() };
    assert!(!one.is_under(&lab.node_key()), "all of it has to open");
}
