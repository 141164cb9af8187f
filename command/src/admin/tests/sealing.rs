//! Provider keys: sealed at rest, opened for the dispatcher, in no event and no reply.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use events::event::admin::{Partner, Permission, Provider, ProviderKindName};
use events::event::{Actor, Change, Context, Event, Stream, StreamKind};
use events::ids::{PartnerId, ProviderId};
use events_log::Append;
use secrets::{EnvironmentKeys, NodeKey, Secret, SecretId, Vault, VaultError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::lab::Lab;
use crate::admin::AdminContext;
use crate::admin::administered::Administered;
use crate::opened_keys;

const SECRET: &str = "provider-secret-c5d1e7f09a";

/// Holds: admin.sealed
#[tokio::test]
async fn a_providers_key_opens_in_its_newest_generation_and_ends_with_the_provider() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET});
    let made = lab.made("/providers", body).await;
    assert!(!made.to_string().contains(SECRET), "{made}");
    let id: ProviderId = made["id"].as_str().unwrap().parse().unwrap();
    let one = format!("/v1/admin/providers/{id}");
    let vault = &lab.admin.vault;
    let mut following = JoinSet::new();
    following.spawn(opened_keys::follow(Arc::clone(vault), lab.admin.tables.clone()));
    assert_eq!(vault.open(None, id, 1).await.unwrap().unwrap().reveal(), SECRET);
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": "second"})).await.must(200);
    assert_eq!(vault.open(None, id, 2).await.unwrap().unwrap().reveal(), "second");
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": null})).await.must(200);
    assert_eq!(vault.open(None, id, 3).await.unwrap(), None);
    must_leave_memory(vault, id, 2).await;
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": "fourth"})).await.must(200);
    assert_eq!(vault.open(None, id, 4).await.unwrap().unwrap().reveal(), "fourth");
    lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
    must_leave_memory(vault, id, 4).await;
}

/// Holds: admin.headers
#[tokio::test]
async fn secret_headers_open_in_their_newest_generation_and_end_with_the_provider() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": "k",
                      "headers": {"x-team": "a"}, "secret_headers": {"X-Auth": SECRET, "authorization": "Basic abc"}});
    let made = lab.made("/providers", body).await;
    assert!(!made.to_string().contains(SECRET), "{made}");
    assert_eq!(made["secret_header_names"], json!(["authorization", "x-auth"]));
    assert!(made.get("secret_headers").is_none() && made.get("headers_generation").is_none(), "{made}");
    let id: ProviderId = made["id"].as_str().unwrap().parse().unwrap();
    let one = format!("/v1/admin/providers/{id}");
    let opened = async |generation: u32| {
        let opened = lab.admin.vault.open(None, SecretId::Headers(id), generation).await.unwrap();
        opened.map(|opened| serde_json::from_str::<Value>(opened.reveal()).unwrap())
    };
    assert_eq!(opened(1).await, Some(json!({"x-auth": SECRET, "authorization": "Basic abc"})));
    // The key is another secret, which stays as it is.
    let changed = lab.send(&lab.operator(), "PATCH", &one, &json!({"secret_headers": {"x-auth": "b"}})).await.must(200);
    assert_eq!(changed["secret_header_names"], json!(["x-auth"]));
    assert_eq!(opened(2).await, Some(json!({"x-auth": "b"})));
    assert_eq!(lab.admin.vault.open(None, id, 1).await.unwrap().unwrap().reveal(), "k");
    lab.send(&lab.operator(), "PATCH", &one, &json!({"headers": {"x-auth": "a"}})).await.refused();
    let moved = json!({"base_url": "https://other.example.com/v1", "api_key": "l"});
    let refused = lab.send(&lab.operator(), "PATCH", &one, &moved).await.refused();
    assert_eq!(refused.details["field"], "secret_headers", "{refused:?}");
    for none in [json!(null), json!({})] {
        let set = json!({"secret_headers": {"x-auth": "c"}});
        lab.send(&lab.operator(), "PATCH", &one, &set).await.must(200);
        let removed = lab.send(&lab.operator(), "PATCH", &one, &json!({"secret_headers": none})).await.must(200);
        assert_eq!(removed["secret_header_names"], json!([]));
        let subjects = lab.admin.log.read(|reader| reader.sealed_secrets()).await.unwrap();
        assert_eq!(subjects.iter().map(|secret| &*secret.subject).collect::<Vec<_>>(), [id.to_string()]);
    }
    lab.send(&lab.operator(), "PATCH", &one, &json!({"secret_headers": {"x-auth": "d"}})).await.must(200);
    lab.send(&lab.operator(), "DELETE", &one, &json!({})).await.must(200);
    assert_eq!(lab.admin.log.read(|reader| reader.sealed_secrets()).await.unwrap(), []);
}

/// Holds: admin.sealed
#[tokio::test]
async fn the_key_of_a_service_account_is_taken_where_it_is_exchanged_for_tokens_and_kept_in_one_line() {
    let lab = Lab::new().await;
    let key = crate::service_account::tests::KEY;
    let base_url = "https://aiplatform.googleapis.com/v1/projects/p/locations/global";
    let with = |kind: &str, key: &str| json!({"name": "v", "kind": kind, "base_url": base_url, "api_key": key});
    for (body, reason) in [
        (with("vertex", &key.replace("service_account", "authorized_user")), "service_account"),
        (with("vertex", &key.replace("-----BEGIN", "-----BEGUN")), "private_key"),
        (with("vertex", "{ }"), "client_email"),
        (with("vertex", "two words"), "visible ASCII"),
        (with("gemini", key), "visible ASCII"),
        (with("openai", "{ }"), "visible ASCII"),
        (with("vertex", &key.replace("googleapis.com", &"y".repeat(1000))), "4096"),
    ] {
        let refused = lab.send(&lab.operator(), "POST", "/v1/admin/providers", &body).await.refused();
        let refused = format!("{refused:?}");
        assert!(refused.contains("api_key") && refused.contains(reason), "{refused}");
        assert!(!refused.contains("BEGIN PRIVATE KEY"), "{refused}");
    }
    let made = lab.made("/providers", with("vertex", key)).await;
    assert!(!made.to_string().contains("PRIVATE KEY"), "{made}");
    let id: ProviderId = made["id"].as_str().unwrap().parse().unwrap();
    let kept = lab.admin.vault.open(None, id, 1).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(kept.reveal()).unwrap(), serde_json::from_str::<Value>(key).unwrap());
    assert!(!kept.reveal().contains('\n'));
    let one = format!("/v1/admin/providers/{id}");
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": "{ }"})).await.refused();
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": "ya29.a-ready-token"})).await.must(200);
}

/// Holds: admin.key-form
#[tokio::test]
async fn a_key_of_bedrock_that_cannot_sign_is_refused_when_it_is_set() {
    let lab = Lab::new().await;
    const AWS: &str = "https://bedrock-runtime.us-east-1.amazonaws.com";
    const OTHER: &str = "https://proxy.example.com";
    let with =
        |base_url: &str, key: &str| json!({"name": "b", "kind": "bedrock", "base_url": base_url, "api_key": key});
    let is_refused = |reply: super::lab::Reply, field: &str, reason: &str| {
        let refused = reply.refused();
        assert_eq!(refused.details["field"], field, "{refused:?}");
        assert!(refused.message.contains(reason), "{refused:?}");
    };
    let form = "ACCESS_KEY_ID:SECRET_ACCESS_KEY";
    for key in ["id:", ":secret", "id:secret:", "id:secret:token:more", "AKIAIOSFODNN7EXAMPLE"] {
        let reply = lab.send(&lab.operator(), "POST", "/v1/admin/providers", &with(AWS, key)).await;
        is_refused(reply, "api_key", form);
    }
    let reply = lab.send(&lab.operator(), "POST", "/v1/admin/providers", &with(OTHER, "id:secret")).await;
    is_refused(reply, "region", "names no region");
    let one = format!("/v1/admin/providers/{}", lab.make("/providers", with(AWS, "id:secret:token")).await);
    let change = async |body: Value| lab.send(&lab.operator(), "PATCH", &one, &body).await;
    is_refused(change(json!({"api_key": "id:"})).await, "api_key", form);
    is_refused(change(json!({"api_key": "id:new", "base_url": OTHER})).await, "region", "names no region");
    change(json!({"api_key": "id:new", "base_url": OTHER, "region": "eu-west-1"})).await.must(200);
    change(json!({"api_key": "id:newer"})).await.must(200);
    is_refused(change(json!({"api_key": "id:newest", "region": null})).await, "region", "names no region");
    change(json!({"api_key": "a-bedrock-api-key", "region": null})).await.must(200);
}

/// The stored key is gone: whatever opens comes from memory.
async fn must_leave_memory(vault: &Vault, id: ProviderId, generation: u32) {
    let gone = async {
        while vault.open(None, id, generation).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the key leaves memory");
}

/// Holds: admin.sealed
#[tokio::test]
async fn a_providers_key_leaves_memory_with_its_tenant() {
    let lab = Lab::new().await;
    let tenant = lab.make("/tenants", json!({"name": "t"})).await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET,
                      "tenant_id": tenant});
    let id: ProviderId = lab.make("/providers", body).await.parse().unwrap();
    let vault = &lab.admin.vault;
    let mut following = JoinSet::new();
    following.spawn(opened_keys::follow(Arc::clone(vault), lab.admin.tables.clone()));
    assert_eq!(vault.open(None, id, 1).await.unwrap().unwrap().reveal(), SECRET);
    lab.send(&lab.operator(), "DELETE", &format!("/v1/admin/tenants/{tenant}"), &json!({})).await.must(200);
    let left = async {
        while vault.opened_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), left).await.expect("the key leaves memory");
}

#[tokio::test]
async fn a_key_is_opened_for_its_own_generation_alone() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://old.example.com/v1", "api_key": SECRET});
    let id: ProviderId = lab.make("/providers", body).await.parse().unwrap();
    let fresh = || Vault::new(lab.node_key(), lab.admin.log.clone(), lab.admin.ids.clone(), EnvironmentKeys::default());
    let (unused, used) = (fresh(), fresh());
    assert_eq!(used.open(None, id, 1).await.unwrap().unwrap().reveal(), SECRET);
    let moved = json!({"base_url": "https://new.example.com/v1", "api_key": "second"});
    lab.send(&lab.operator(), "PATCH", &format!("/v1/admin/providers/{id}"), &moved).await.must(200);
    // A caller with the old row does not get the new key, nor the other way round.
    for vault in [&unused, &used] {
        assert_eq!(vault.open(None, id, 2).await.unwrap().unwrap().reveal(), "second");
        let refused = vault.open(None, id, 1).await;
        assert!(matches!(refused, Err(VaultError::OtherGeneration { wanted: 1, found: 2, .. })), "{refused:?}");
        assert_eq!(
            vault.open(None, id, 2).await.unwrap().unwrap().reveal(),
            "second",
            "after it was asked with an old row"
        );
    }
    let refused = fresh().open(None, id, 1).await;
    assert!(matches!(refused, Err(VaultError::OtherGeneration { .. })), "{refused:?}");
}

/// Holds: environment.keys
#[tokio::test]
async fn a_key_of_the_environment_is_had_by_the_process_with_its_variable_alone() {
    let lab = Lab::new().await;
    let mut keys = EnvironmentKeys::default();
    keys.insert("OPENAI_API_KEY", "https://api.example.com/v1", Secret::new(SECRET));
    let vault = |keys| Vault::new(lab.node_key(), lab.admin.log.clone(), lab.admin.ids.clone(), keys);
    let (with, without) = (vault(keys), vault(EnvironmentKeys::default()));
    let provider = Provider {
        base_url: Some("https://api.example.com/v1".to_owned()),
        key_variable: Some("OPENAI_API_KEY".to_owned()),
        ..Provider::new(lab.admin.ids.make(), "o", ProviderKindName::literal("openai"))
    };
    assert_eq!(with.key_of(&provider).await.unwrap().unwrap().reveal(), SECRET);
    // The row may be that of an earlier start.
    let elsewhere = Provider { base_url: Some("https://other.example.com/v1".to_owned()), ..provider.clone() };
    for refused in [without.key_of(&provider).await, with.key_of(&elsewhere).await] {
        assert!(matches!(refused, Err(VaultError::NotInEnvironment { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn providers_of_one_tenant_share_a_data_key_also_when_made_together() {
    let lab = Lab::new().await;
    let tenant = lab.tenancy.tenant.to_string();
    let body = |key: &str| json!({"name": key, "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": key, "tenant_id": tenant});
    let made = tokio::join!(
        lab.make("/providers", body("a")),
        lab.make("/providers", body("b")),
        lab.make("/providers", body("c")),
    );
    for (id, key) in [(made.0, "a"), (made.1, "b"), (made.2, "c")] {
        assert_eq!(
            lab.admin.vault.open(None, id.parse::<ProviderId>().unwrap(), 1).await.unwrap().unwrap().reveal(),
            key
        );
    }
}

#[tokio::test]
async fn a_tenants_secret_waits_for_no_reads_of_others() {
    let lab = Lab::new().await;
    let tenant = lab.tenancy.tenant;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET,
                      "tenant_id": tenant});
    let id: ProviderId = lab.make("/providers", body).await.parse().unwrap();
    // As many reads of no tenant as are made at a time, and none of them ends.
    let (mut reading, mut ends, mut begun) = (JoinSet::new(), Vec::new(), Vec::new());
    for _ in 0..4 {
        let ((end, ends_when), (begins, begins_when)) = (mpsc::channel::<()>(), tokio::sync::oneshot::channel());
        let log = lab.admin.log.clone();
        reading.spawn(async move {
            let read = log.read(move |_| {
                let _ = begins.send(());
                Ok(ends_when.recv().is_err())
            });
            read.await.is_ok_and(|ended| ended)
        });
        ends.push(end);
        begun.push(begins_when);
    }
    for begun in begun {
        begun.await.unwrap();
    }
    let opened = tokio::time::timeout(Duration::from_secs(2), lab.admin.vault.open(Some(tenant), id, 1)).await;
    drop(ends);
    assert!(reading.join_all().await.into_iter().all(|ended| ended));
    assert_eq!(opened.expect("its own turn").unwrap().unwrap().reveal(), SECRET);
}

#[tokio::test]
async fn without_the_nodes_key_nothing_opens() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET});
    let id: ProviderId = lab.make("/providers", body).await.parse().unwrap();
    let other = Vault::new(
        NodeKey::from_bytes(&[6; 32]),
        lab.admin.log.clone(),
        lab.admin.ids.clone(),
        EnvironmentKeys::default(),
    );
    assert!(matches!(other.open(None, id, 1).await, Err(VaultError::Unopenable { .. })));
    assert!(matches!(other.key_check().await, Err(VaultError::OtherNodeKey { .. })));
    assert!(lab.admin.vault.key_check().await.is_ok());
}

#[tokio::test]
async fn a_stored_key_is_not_sent_to_another_host() {
    let lab = Lab::new().await;
    let chain = lab.tenancy.chain();
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET,
                      "tenant_id": chain.tenant});
    let one = format!("/v1/admin/providers/{}", lab.make("/providers", body).await);
    let policy = format!("/v1/admin/tenants/{}", lab.tenancy.tenant);
    lab.send(&lab.operator(), "PATCH", &policy, &json!({"own_providers": true})).await.must(200);
    let admin = lab.key(&lab.tenancy.tenant.to_string(), json!([]), Permission::ALL).await;
    let elsewhere = json!({"base_url": "https://elsewhere.example.com/v1"});
    for administrator in [&admin, &lab.operator()] {
        assert_eq!(lab.send(administrator, "PATCH", &one, &elsewhere).await.wrong_field(), "api_key");
    }
    let with_its_key = json!({"base_url": "https://elsewhere.example.com/v1", "api_key": "another"});
    lab.send(&admin, "PATCH", &one, &with_its_key).await.must(200);
    lab.send(&admin, "PATCH", &one, &json!({"base_url": "https://elsewhere.example.com/v2"})).await.must(200);
    let without = json!({"base_url": "https://api.example.com/v1", "api_key": null});
    lab.send(&lab.operator(), "PATCH", &one, &without).await.must(200);
}

/// Holds: admin.sealed, event.nothing-personal
#[tokio::test]
async fn no_secret_is_in_an_event_or_a_file() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET});
    lab.make("/providers", body).await;
    let key = lab.made("/keys", json!({"name": "app"})).await;
    let key = key["secret"].as_str().unwrap();
    for recorded in lab.events().await {
        let payload = recorded.event.payload().unwrap();
        assert!(!payload.contains(SECRET) && !payload.contains(key), "{payload}");
    }
    for file in std::fs::read_dir(lab.folder.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in [SECRET, &key[37..]] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret in {}", path.display());
        }
    }
}

/// Holds: admin.sealed
#[tokio::test]
async fn a_provider_key_that_the_end_of_its_provider_has_not_seen_leaves_no_secret() {
    let lab = Lab::new().await;
    let body = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET});
    let provider: ProviderId = lab.make("/providers", body).await.parse().unwrap();
    let further = json!({"provider_id": provider, "name": "further", "api_key": SECRET});
    // The end is planned here, and recorded after the key.
    let planned = AdminContext::new(&lab.admin, &lab.operator()).unwrap();
    let state = Arc::clone(&planned.tables.provider(provider).unwrap().value);
    let key = lab.make("/provider-keys", further.clone()).await;
    let subjects = async || {
        let secrets = lab.admin.log.read(|reader| reader.sealed_secrets()).await.unwrap();
        secrets.into_iter().map(|secret| secret.subject).collect::<Vec<_>>()
    };
    assert_eq!(subjects().await, [key, provider.to_string()]);
    let end = Append {
        stream: Stream::new(StreamKind::Provider, provider),
        expected_sequence: 1,
        events: vec![Event::from(Change::<Provider>::Ended(provider))],
        context: Context::of(Actor::Operator),
        side: Provider::side_rows_at_end(&planned, &state),
        idempotency: None,
        basis: planned.basis(),
    };
    let position = lab.admin.log.append(end).await.unwrap().last;
    assert!(lab.admin.tables.wait_for(position, Duration::from_secs(5)).await);
    assert_eq!(subjects().await, [""; 0]);
    lab.send(&lab.operator(), "POST", "/v1/admin/provider-keys", &further).await.refused();
    assert_eq!(subjects().await, [""; 0]);
}

/// Holds: admin.sealed
#[tokio::test]
async fn keys_and_the_end_of_their_provider_at_the_same_time_leave_no_secret_behind() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    for round in 0..20 {
        let tenant = lab.make("/tenants", json!({"name": format!("t{round}")})).await;
        let provider = json!({"name": "o", "kind": "openai", "base_url": "https://api.example.com/v1",
                              "api_key": SECRET, "tenant_id": tenant});
        let id = lab.make("/providers", provider).await;
        let further = json!({"provider_id": id, "name": "further", "api_key": SECRET});
        let create = || async { lab.send(&operator, "POST", "/v1/admin/provider-keys", &further).await.status };
        let one = format!("/v1/admin/providers/{id}");
        let (first, ended, second) =
            tokio::join!(create(), async { lab.send(&operator, "DELETE", &one, &json!({})).await.status }, create());
        assert_eq!(ended, 200);
        assert!([first, second].iter().all(|status| [201, 400, 409].contains(status)), "{first} {second}");
        let secrets = lab.admin.log.read(|reader| reader.sealed_secrets()).await.unwrap();
        assert_eq!(secrets, []);
    }
}

/// Holds: admin.secrets-of-ended-tenants
#[tokio::test]
async fn the_end_of_a_partner_drops_secrets_of_a_tenant_that_it_has_not_seen_and_nothing_is_sealed_afterwards() {
    let lab = Lab::new().await;
    let partner: PartnerId = lab.make("/partners", json!({"name": "p"})).await.parse().unwrap();
    // The end is planned here, and recorded after the tenant with its key.
    let planned = AdminContext::new(&lab.admin, &lab.operator()).unwrap();
    let state = Arc::clone(&planned.tables.partner(partner).unwrap().value);
    let tenant = lab.make("/tenants", json!({"partner_id": partner, "name": "t"})).await;
    let own = |name: &str| {
        json!({"name": name, "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET,
               "tenant_id": tenant})
    };
    let provider: ProviderId = lab.make("/providers", own("o")).await.parse().unwrap();
    let vault = &lab.admin.vault;
    let mut following = JoinSet::new();
    following.spawn(opened_keys::follow(Arc::clone(vault), lab.admin.tables.clone()));
    assert!(vault.open(None, provider, 1).await.unwrap().is_some());
    let end = Append {
        stream: Stream::new(StreamKind::Partner, partner),
        expected_sequence: 1,
        events: vec![Event::from(Change::<Partner>::Ended(partner))],
        context: Context::of(Actor::Operator),
        side: Partner::side_rows_at_end(&planned, &state),
        idempotency: None,
        basis: planned.basis(),
    };
    let position = lab.admin.log.append(end).await.unwrap().last;
    assert!(lab.admin.tables.wait_for(position, Duration::from_secs(5)).await);
    must_have_no_secret(&lab).await;
    must_leave_memory(vault, provider, 1).await;
    let further = json!({"provider_id": provider, "name": "further", "api_key": SECRET});
    lab.send(&lab.operator(), "POST", "/v1/admin/providers", &own("new")).await.refused();
    lab.send(&lab.operator(), "POST", "/v1/admin/provider-keys", &further).await.refused();
    let one = format!("/v1/admin/providers/{provider}");
    lab.send(&lab.operator(), "PATCH", &one, &json!({"api_key": SECRET})).await.refused();
    must_have_no_secret(&lab).await;
}

/// Holds: admin.secrets-of-ended-tenants
#[tokio::test]
async fn keys_and_the_end_of_their_tenant_or_partner_at_the_same_time_leave_no_secret_behind() {
    let lab = Lab::new().await;
    let operator = lab.operator();
    for round in 0..20 {
        let partner = lab.make("/partners", json!({"name": format!("p{round}")})).await;
        let tenant = lab.make("/tenants", json!({"partner_id": partner, "name": "t"})).await;
        let own = |name: &str| {
            json!({"name": name, "kind": "openai", "base_url": "https://api.example.com/v1", "api_key": SECRET,
                   "tenant_id": tenant})
        };
        let id = lab.make("/providers", own("o")).await;
        let further = json!({"provider_id": id, "name": "further", "api_key": SECRET});
        let created = |path: &'static str, body: Value| {
            let (lab, operator) = (&lab, &operator);
            async move { lab.send(operator, "POST", path, &body).await.status }
        };
        let owner = if round % 2 == 0 { format!("tenants/{tenant}") } else { format!("partners/{partner}") };
        let one = format!("/v1/admin/{owner}");
        let (first, second, ended, third) = tokio::join!(
            created("/v1/admin/provider-keys", further.clone()),
            created("/v1/admin/providers", own("second")),
            async { lab.send(&operator, "DELETE", &one, &json!({})).await.status },
            created("/v1/admin/provider-keys", further.clone()),
        );
        assert_eq!(ended, 200);
        assert!(
            [first, second, third].iter().all(|status| [201, 400, 409].contains(status)),
            "{first} {second} {third}"
        );
        must_have_no_secret(&lab).await;
    }
}

/// Neither a sealed one nor a key of a tenant.
async fn must_have_no_secret(lab: &Lab) {
    let left = lab.admin.log.read(|reader| Ok((reader.sealed_secrets()?, reader.tenant_keys()?))).await.unwrap();
    assert_eq!(left, (vec![], vec![]));
}
