//! The keys of a provider in the hands of requests: a log with its tables, and a clock that the tests set.

mod doubt;
mod limits;
mod set_aside;

use events::event::admin::SetAsideReason;
use events::event::{Event, Resource};
use events::ids::ProviderId;
use http::HeaderMap;
use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;
use secrets::Secret;

/// A provider with its own key and further ones.
struct TestProvider {
    lab: Lab,
    keys: Arc<ProviderKeys>,
    id: ProviderId,
    further: Vec<String>,
}

fn refused() -> Option<KeyFailure> {
    Some(KeyFailure::NotAccepted { reason: SetAsideReason::Refused, status: 401, blame: KeyBlame::Certain })
}

fn out_of_money() -> Option<KeyFailure> {
    Some(KeyFailure::NotAccepted { reason: SetAsideReason::OutOfMoney, status: 402, blame: KeyBlame::Likely })
}

fn says_out_of_money() -> Option<KeyFailure> {
    Some(KeyFailure::NotAccepted { reason: SetAsideReason::OutOfMoney, status: 400, blame: KeyBlame::ByWords })
}

fn limited() -> Option<KeyFailure> {
    Some(KeyFailure::Limited(Duration::from_secs(20)))
}

impl TestProvider {
    /// With one further key for each of these, which says what is special to it.
    async fn new(further: &[serde_json::Value]) -> Self {
        Self::of(Lab::new().await, serde_json::Value::Null, further).await
    }

    /// Makes a provider of this tenant, or a shared one.
    async fn of(lab: Lab, tenant: serde_json::Value, further: &[serde_json::Value]) -> Self {
        let mut provider =
            json!({"name": "up", "kind": "openai", "base_url": "https://up.example.com/v1", "api_key": "own"});
        if !tenant.is_null() {
            provider["tenant_id"] = tenant;
        }
        let provider = lab.make("/providers", provider).await;
        let mut ids = Vec::new();
        for (number, special) in further.iter().enumerate() {
            let mut body =
                json!({"provider_id": provider, "name": format!("k{number}"), "api_key": format!("s{number}")});
            body.as_object_mut().unwrap().extend(special.as_object().unwrap().clone());
            ids.push(lab.make("/provider-keys", body).await);
        }
        let admin = &lab.admin;
        let keys =
            ProviderKeys::new(admin.log.clone(), admin.tables.clone(), Arc::clone(&admin.clock), admin.ids.clone());
        Self { lab, keys, id: provider.parse().unwrap(), further: ids }
    }

    fn row(&self) -> Arc<Provider> {
        Arc::clone(&self.lab.admin.tables.load().provider(self.id).unwrap().value)
    }

    fn own(&self) -> UpstreamKey {
        UpstreamKey::Own(self.id)
    }

    fn key(&self, number: usize) -> UpstreamKey {
        UpstreamKey::Further(self.further[number].parse().unwrap())
    }

    fn choose(&self, attempts: &mut KeyAttempts) -> Result<UpstreamKey, Choice> {
        let rows = ProviderKeys::rows(&self.lab.admin.tables.load(), &self.row(), true);
        let chosen = attempts.choose(&self.keys, &self.row(), rows, 10);
        chosen.map(|chosen| chosen.key)
    }

    /// A request that was given this key.
    fn request_with(&self, key: UpstreamKey) -> KeyAttempts {
        for _ in 0..1000 {
            let mut attempts = KeyAttempts::new();
            if self.choose(&mut attempts) == Ok(key) {
                return attempts;
            }
        }
        panic!("{key} is never chosen");
    }

    /// The keys that requests are given.
    fn chosen(&self) -> Vec<UpstreamKey> {
        let mut chosen: Vec<_> = (0..100).filter_map(|_| self.choose(&mut KeyAttempts::new()).ok()).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    /// Waits until everything is recorded, and returns what was recorded about keys.
    async fn recorded(&self) -> Vec<&'static str> {
        while self.keys.uses().values().any(|key_use| key_use.is_recording) {
            tokio::task::yield_now().await;
        }
        let events = self.lab.events().await;
        let of_keys = |event: &Event| {
            matches!(event, Event::Resource(Resource::ProviderKeySetAside(_) | Resource::ProviderKeyRestored(_)))
        };
        events.iter().map(|recorded| &recorded.event).filter(|event| of_keys(event)).map(Event::name).collect()
    }

    fn succeeds(&self, attempts: &mut KeyAttempts) {
        attempts.answered(&HeaderMap::new(), true, &*self.lab.admin.clock);
    }
}

const SET_ASIDE: &str = "provider_key.set_aside";
const RESTORED: &str = "provider_key.restored";

#[tokio::test]
async fn a_request_is_sent_with_three_keys_at_most_and_with_two_if_it_may_be_to_blame_itself() {
    let provider = TestProvider::new(&[json!({}), json!({}), json!({}), json!({}), json!({})]).await;
    let calls = |mut request: KeyAttempts, failures: &[Option<KeyFailure>]| {
        let mut calls = 0;
        loop {
            provider.choose(&mut request).unwrap();
            let failure = failures[calls.min(failures.len() - 1)];
            calls += 1;
            if request.failed(failure) != NextKey::Another {
                return (calls, request);
            }
        }
    };
    let other = Some(KeyFailure::Other);
    for (failures, wanted) in [
        (&[other][..], 2),
        (&[out_of_money(), other], 3),
        (&[other, out_of_money()], 2),
        (&[out_of_money()], 3),
        (&[limited(), other], 3),
    ] {
        let (made, mut request) = calls(KeyAttempts::new(), failures);
        assert_eq!(made, wanted, "{failures:?}");
        request.begin_target();
        assert_eq!(calls(request, &[other]).0, 1, "at another target too");
        provider.recorded().await;
        provider.lab.wait(3600);
    }
}

#[tokio::test]
async fn a_key_goes_to_no_other_host_than_it_was_given_for() {
    let provider = TestProvider::new(&[json!({})]).await;
    let one = format!("/v1/admin/providers/{}", provider.id);
    let elsewhere = json!({"base_url": "https://up.example.com:8443/v1", "api_key": "own"});
    let refused = provider.lab.send(&provider.lab.operator(), "PATCH", &one, &elsewhere).await;
    assert_eq!(refused.wrong_field(), "base_url");
    let same_host = json!({"base_url": "https://up.example.com/v2"});
    provider.lab.send(&provider.lab.operator(), "PATCH", &one, &same_host).await.must(200);
    let rows = |base_url: &str| {
        let moved = Provider { base_url: Some(base_url.to_owned()), ..Provider::clone(&provider.row()) };
        ProviderKeys::rows(&provider.lab.admin.tables.load(), &moved, false).len()
    };
    assert_eq!(rows("https://up.example.com/v2"), 1);
    for other in ["https://up.example.com:8443/v2", "http://up.example.com/v2", "https://up.example.com.evil.example"] {
        assert_eq!(rows(other), 0, "{other}");
    }
}

#[tokio::test]
async fn a_redactor_knows_every_key_that_the_request_was_sent_with() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = KeyAttempts::new();
    provider.choose(&mut request).unwrap();
    assert!(request.send(&Secret::new("first")).is_empty());
    request.failed(refused());
    provider.choose(&mut request).unwrap();
    assert_eq!(request.send(&Secret::new("second")), [Secret::new("first")]);
    provider.recorded().await;
}
