//! The keys of a provider in the hands of requests: a log with its tables, and a clock that the tests set.

use events::event::admin::SetAsideReason;
use events::event::{Event, Resource};
use events::ids::ProviderId;
use http::{HeaderMap, HeaderName, HeaderValue};
use projections::tables;
use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;
use secrets::Secret;

/// A provider with its own key and further ones.
struct House {
    lab: Lab,
    keys: Arc<ProviderKeys>,
    provider: ProviderId,
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

impl House {
    /// With one further key for each of these, which says what is special to it.
    async fn new(further: &[serde_json::Value]) -> Self {
        Self::of(Lab::new().await, serde_json::Value::Null, further).await
    }

    /// Of a provider of this tenant, or a shared one.
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
        let provider = provider.parse().unwrap();
        Self { lab, keys, provider, further: ids }
    }

    fn provider(&self) -> Arc<Provider> {
        Arc::clone(&self.lab.admin.tables.load().provider(self.provider).unwrap().value)
    }

    fn own(&self) -> UpstreamKey {
        UpstreamKey::Own(self.provider)
    }

    fn key(&self, number: usize) -> UpstreamKey {
        UpstreamKey::Further(self.further[number].parse().unwrap())
    }

    fn choose(&self, attempts: &mut KeyAttempts) -> Result<UpstreamKey, Choice> {
        let rows = ProviderKeys::rows(&self.lab.admin.tables.load(), &self.provider(), true);
        let chosen = attempts.choose(&self.keys, &self.provider(), rows, 10);
        chosen.map(|(key, _)| key)
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
async fn a_key_that_many_requests_find_refused_is_set_aside_once_and_each_goes_on_with_another() {
    let house = House::new(&[json!({})]).await;
    let mut requests: Vec<_> = (0..50).map(|_| house.request_with(house.key(0))).collect();
    for request in &mut requests {
        assert_eq!(request.failed(refused()), NextKey::Another);
        assert_eq!(house.choose(request), Ok(house.own()));
        assert_eq!(house.chosen(), [house.own()], "before it is recorded");
    }
    assert_eq!(house.recorded().await, [SET_ASIDE]);
    assert_eq!(house.chosen(), [house.own()]);
    assert_eq!(house.lab.admin.tables.load().keys_set_aside(), 1);
    let one = format!("/v1/admin/provider-keys/{}", house.further[0]);
    let shown = house.lab.send(&house.lab.operator(), "PATCH", &one, &json!({})).await.must(200);
    assert_eq!((&shown["state"], &shown["set_aside"]["reason"]), (&json!("set_aside"), &json!("refused")));
    assert_eq!(shown["set_aside"]["status"], 401);
}

#[tokio::test]
async fn a_key_is_tried_again_after_a_minute_then_two_and_is_in_use_once_it_is_accepted() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    assert_eq!(request.failed(out_of_money()), NextKey::Another);
    assert_eq!(house.choose(&mut request), Ok(house.own()));
    house.succeeds(&mut request);
    assert_eq!(house.recorded().await, [SET_ASIDE]);
    house.chosen();
    for seconds in [60, 120, 240] {
        house.lab.wait(seconds - 1);
        assert_eq!(house.chosen(), [house.own()], "after {seconds} s");
        house.lab.wait(1);
        let mut request = KeyAttempts::new();
        assert_eq!(house.choose(&mut request), Ok(house.key(0)), "after {seconds} s");
        assert_eq!(house.chosen(), [house.own()], "one request tries it");
        assert_eq!(request.failed(refused()), NextKey::Another);
    }
    house.lab.wait(480);
    let mut request = house.request_with(house.key(0));
    house.succeeds(&mut request);
    assert_eq!(house.recorded().await, [SET_ASIDE, RESTORED]);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
}

#[tokio::test]
async fn a_new_secret_is_used_at_once_and_a_late_refusal_of_the_old_one_does_not_count() {
    let house = House::new(&[json!({})]).await;
    let mut late = house.request_with(house.key(0));
    house.request_with(house.key(0)).failed(refused());
    assert_eq!(house.recorded().await, [SET_ASIDE]);
    let one = format!("/v1/admin/provider-keys/{}", house.further[0]);
    let changed = house.lab.send(&house.lab.operator(), "PATCH", &one, &json!({"api_key": "new"})).await.must(200);
    assert_eq!((&changed["state"], &changed["set_aside"]), (&json!("in_use"), &json!(null)));
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
    late.failed(refused());
    assert_eq!(house.recorded().await, [SET_ASIDE]);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
    assert_eq!(house.lab.admin.tables.load().keys_set_aside(), 0);
}

#[tokio::test]
async fn without_another_key_those_that_are_set_aside_are_used_and_each_request_tries_one() {
    let house = House::new(&[json!({})]).await;
    for key in [house.own(), house.key(0)] {
        let mut request = house.request_with(key);
        request.failed(refused());
        house.recorded().await;
    }
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
    let mut request = house.request_with(house.own());
    house.succeeds(&mut request);
    assert_eq!(house.chosen(), [house.own()], "the one that was accepted");
    assert_eq!(request.failed(refused()), NextKey::None);
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE], "a success between two trials leaves no event");
}

#[tokio::test]
async fn if_all_keys_are_set_aside_the_one_that_was_accepted_last_serves() {
    let house = House::new(&[json!({})]).await;
    let mut late = [house.request_with(house.own()), house.request_with(house.key(0))];
    let mut request = house.request_with(house.own());
    house.succeeds(&mut request);
    late.iter_mut().for_each(|request| {
        request.failed(refused());
    });
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.chosen(), [house.own()]);
    // It fails now, and the other one serves.
    assert_eq!(house.request_with(house.own()).failed(refused()), NextKey::None);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
    let mut request = house.request_with(house.key(0));
    house.succeeds(&mut request);
    assert_eq!(house.chosen(), [house.key(0)]);
}

#[tokio::test]
async fn keys_of_a_tenants_own_provider_are_set_aside_and_not_counted() {
    let lab = Lab::new().await;
    let tenant = lab.make("/tenants", json!({"name": "t"})).await;
    let house = House::of(lab, json!(tenant), &[json!({})]).await;
    for key in [house.own(), house.key(0)] {
        house.request_with(key).failed(refused());
        house.recorded().await;
    }
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.lab.admin.tables.load().keys_set_aside(), 0);
}

#[tokio::test]
async fn a_restart_keeps_what_is_set_aside_and_forgets_what_is_short() {
    let house = House::new(&[json!({}), json!({})]).await;
    house.request_with(house.key(0)).failed(refused());
    house.request_with(house.key(1)).failed(limited());
    house.recorded().await;
    assert_eq!(house.chosen(), [house.own()]);
    let log = &house.lab.admin.log;
    let (tables, _task) = tables::start(log).await.unwrap();
    let admin = &house.lab.admin;
    let after = ProviderKeys::new(log.clone(), tables, Arc::clone(&admin.clock), admin.ids.clone());
    let house = House { keys: after, ..house };
    assert_eq!(house.chosen(), [house.own(), house.key(1)]);
}

#[tokio::test]
async fn a_key_at_one_of_its_limits_is_passed_over_and_if_all_are_the_request_waits() {
    let house = House::new(&[json!({"concurrent_requests": 1}), json!({"requests_per_minute": 1})]).await;
    drop(house.request_with(house.key(1)));
    let running = house.request_with(house.key(0));
    assert_eq!(house.chosen(), [house.own()]);
    drop(running);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);

    let mut request = house.request_with(house.own());
    let _running = house.request_with(house.key(0));
    assert_eq!(request.failed(refused()), NextKey::AtLimit(Duration::from_secs(1)));
    house.recorded().await;
    assert_eq!(house.choose(&mut KeyAttempts::new()), Err(Choice::AtLimit(Duration::from_secs(1))));
    house.lab.wait(60);
    assert!(house.chosen().contains(&house.key(1)), "its minute is over");
}

#[tokio::test]
async fn tokens_count_against_a_key_when_they_are_known() {
    let house = House::new(&[json!({"tokens_per_minute": 100})]).await;
    let mut request = house.request_with(house.key(0));
    request.settle(Some(99));
    drop(request);
    let mut request = house.request_with(house.key(0));
    request.settle(Some(1));
    drop(request);
    assert_eq!(house.chosen(), [house.own()]);
    house.lab.wait(60);
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
}

#[tokio::test]
async fn what_a_provider_says_of_a_keys_limits_steers_the_choice_until_their_reset() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    let headers = [
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "3"),
        ("x-ratelimit-reset-tokens", "30s"),
    ];
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    request.answered(&HeaderMap::from_iter(headers), true, &*house.lab.admin.clock);
    assert_eq!(house.chosen(), [house.own()]);
    let mut other = house.request_with(house.own());
    assert_eq!(other.failed(refused()), NextKey::Another, "a short key is better than none");
    assert_eq!(house.choose(&mut other), Ok(house.key(0)));
    house.recorded().await;
    house.lab.wait(30);
    assert_eq!(house.chosen(), [house.key(0)], "it has its limits again, and the other one is set aside");
}

#[tokio::test]
async fn a_limit_at_the_provider_sends_a_request_to_a_key_with_room_and_to_no_other() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    assert_eq!(request.failed(limited()), NextKey::Another);
    assert_eq!(house.choose(&mut request), Ok(house.own()));
    assert_eq!(request.failed(limited()), NextKey::None, "the other one has just been limited");
    request.again();
    assert!(house.choose(&mut request).is_ok(), "after the wait, any of them may be called again");
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_key_without_a_permission_is_not_set_aside() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    assert_eq!(request.failed(Some(KeyFailure::Other)), NextKey::Another);
    assert_eq!(request.failed(None), NextKey::None);
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_request_that_fails_with_every_key_sets_none_aside_and_the_next_begins_with_an_untried_one() {
    let further = [(); 3].map(|()| json!({}));
    let house = House::new(&further).await;
    let mut request = KeyAttempts::new();
    let mut tried = Vec::new();
    for next in [NextKey::Another, NextKey::Another, NextKey::None] {
        tried.push(house.choose(&mut request).unwrap());
        assert_eq!(request.failed(out_of_money()), next);
    }
    let untried = house.chosen();
    assert_eq!((untried.len(), tried.contains(&untried[0])), (1, false));
    // At another target, the same request counts no second time.
    for _ in 0..20 {
        request.begin_target();
        house.choose(&mut request).unwrap();
        assert_eq!(request.failed(out_of_money()), NextKey::None);
    }
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_key_that_another_one_stands_in_for_is_set_aside_at_once() {
    let house = House::new(&[json!({}), json!({})]).await;
    let mut request = KeyAttempts::new();
    let mut dead = Vec::new();
    for _ in 0..2 {
        dead.push(house.choose(&mut request).unwrap());
        assert_eq!(request.failed(out_of_money()), NextKey::Another);
    }
    let served = house.choose(&mut request).unwrap();
    house.succeeds(&mut request);
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.chosen(), [served]);
}

#[tokio::test]
async fn another_target_proves_nothing_about_a_key() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    request.failed(out_of_money());
    request.begin_target();
    while house.choose(&mut request) != Ok(house.own()) {
        request.give_back();
    }
    house.succeeds(&mut request);
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn keys_that_no_request_is_served_with_are_set_aside_after_three_in_a_row() {
    let house = House::new(&[json!({})]).await;
    let fails = |house: &House| {
        let mut request = KeyAttempts::new();
        for _ in 0..2 {
            house.choose(&mut request).unwrap();
            request.failed(out_of_money());
        }
    };
    fails(&house);
    fails(&house);
    let mut accepted = house.request_with(house.own());
    house.succeeds(&mut accepted);
    fails(&house);
    assert_eq!(house.recorded().await, [SET_ASIDE], "the other one was accepted in between");
    fails(&house);
    assert_eq!(house.recorded().await, [SET_ASIDE]);
    // The key that is set aside is not tried any more, and this request is the third in a row.
    house.choose(&mut KeyAttempts::new()).unwrap();
    fails(&house);
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.lab.admin.tables.load().keys_set_aside(), 2);
}

#[tokio::test]
async fn all_dead_keys_but_one_are_found_within_few_requests() {
    let further = [(); 9].map(|()| json!({ "weight": 1000 }));
    let house = House::new(&further).await;
    let (mut refused_requests, mut calls) = (0, 0);
    for _ in 0..20 {
        let mut request = KeyAttempts::new();
        loop {
            let key = house.choose(&mut request).unwrap();
            calls += 1;
            if key == house.own() {
                house.succeeds(&mut request);
                break;
            }
            if request.failed(out_of_money()) != NextKey::Another {
                refused_requests += 1;
                break;
            }
        }
        house.recorded().await;
    }
    assert!(refused_requests <= 3, "{refused_requests}");
    assert_eq!(house.recorded().await.len(), 9);
    assert!(calls <= 20 + 9 + 9, "{calls}");
}

#[tokio::test]
async fn words_alone_set_a_key_aside_only_if_another_one_serves_the_same_request() {
    let house = House::new(&[json!({ "weight": 1000 }), json!({ "weight": 1000 })]).await;
    let mut request = house.request_with(house.key(0));
    assert_eq!(request.failed(says_out_of_money()), NextKey::Another);
    assert!(!house.chosen().contains(&house.key(0)), "others come first");
    while house.choose(&mut request) != Ok(house.key(1)) {
        request.give_back();
    }
    assert_eq!(request.failed(says_out_of_money()), NextKey::Another);
    assert_eq!(house.recorded().await, [] as [&str; 0]);
    assert_eq!(house.choose(&mut request), Ok(house.own()));
    house.succeeds(&mut request);
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(house.chosen(), [house.own()]);
}

#[tokio::test]
async fn words_about_every_key_set_none_aside_and_are_told_once_until_one_is_accepted() {
    let house = House::new(&[json!({}), json!({})]).await;
    let rows = ProviderKeys::rows(&house.lab.admin.tables.load(), &house.provider(), true);
    let fails_with = |rows: &[KeyRow]| {
        rows.iter().for_each(|row| {
            house.keys.doubt(row.key, row.generation, KeyBlame::ByWords);
        });
    };
    (0..5).for_each(|_| fails_with(&rows[1..]));
    assert!(!house.keys.finds_none_accepted(&rows), "one was not refused");
    house.keys.was_accepted(rows[1].key);
    house.keys.was_accepted(rows[2].key);
    for _ in 0..2 {
        for is_told in [false, false, true, false] {
            fails_with(&rows);
            assert_eq!(house.keys.finds_none_accepted(&rows), is_told);
        }
        house.succeeds(&mut house.request_with(house.key(0)));
    }
    let mut request = KeyAttempts::new();
    while house.choose(&mut request).is_ok() && request.failed(says_out_of_money()) == NextKey::Another {}
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_doubted_key_is_in_use_again_once_it_is_accepted() {
    let house = House::new(&[json!({})]).await;
    let mut hostile = KeyAttempts::new();
    for _ in 0..2 {
        house.choose(&mut hostile).unwrap();
        hostile.failed(out_of_money());
    }
    for key in [house.own(), house.key(0)] {
        house.lab.wait(1);
        let mut request = house.request_with(key);
        house.succeeds(&mut request);
    }
    assert_eq!(house.chosen(), [house.own(), house.key(0)]);
    // While it is doubted, one request a second tries it.
    let mut request = house.request_with(house.key(0));
    request.failed(out_of_money());
    assert_eq!(house.choose(&mut KeyAttempts::new()), Ok(house.key(0)));
    assert_eq!(house.chosen(), [house.own()]);
    house.lab.wait(1);
    assert_eq!(house.choose(&mut KeyAttempts::new()), Ok(house.key(0)));
    assert_eq!(house.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_new_secret_of_a_doubted_key_is_not_doubted() {
    let house = House::new(&[json!({})]).await;
    house.request_with(house.key(0)).failed(out_of_money());
    let mut own = house.request_with(house.own());
    own.failed(out_of_money());
    let one = format!("/v1/admin/provider-keys/{}", house.further[0]);
    house.lab.send(&house.lab.operator(), "PATCH", &one, &json!({"api_key": "new"})).await.must(200);
    assert_eq!(house.chosen(), [house.key(0)]);
}

#[tokio::test]
async fn limits_hold_for_keys_that_are_set_aside() {
    let further = [(); 2].map(|()| json!({ "requests_per_minute": 3 }));
    let house = House::new(&further).await;
    let mut request = KeyAttempts::new();
    for _ in 0..3 {
        house.choose(&mut request).unwrap();
        request.failed(refused());
    }
    assert_eq!(house.recorded().await, [SET_ASIDE, SET_ASIDE, SET_ASIDE]);
    let rows: Vec<_> = ProviderKeys::rows(&house.lab.admin.tables.load(), &house.provider(), false);
    let mut served = Vec::new();
    let mut limited = None;
    for _ in 0..10 {
        let mut request = KeyAttempts::new();
        match request.choose(&house.keys, &house.provider(), rows.clone(), 10) {
            Ok((key, _)) => served.push(key),
            Err(choice) => limited = Some(choice),
        }
        house.succeeds(&mut request);
    }
    let count = |key| served.iter().filter(|served| **served == key).count();
    assert_eq!((count(house.key(0)), count(house.key(1))), (2, 2), "the refused request counts too");
    assert!(matches!(limited, Some(Choice::AtLimit(_))), "{limited:?}");
}

#[tokio::test]
async fn a_provider_shows_of_its_own_key_what_a_provider_key_shows() {
    let house = House::new(&[json!({})]).await;
    let (operator, one) = (house.lab.operator(), format!("/v1/admin/providers/{}", house.provider));
    let shown = async || {
        let mut provider = house.lab.send(&operator, "PATCH", &one, &json!({})).await.must(200);
        (provider["key_state"].take(), provider["key_set_aside"].take())
    };
    assert_eq!(shown().await, (json!("in_use"), json!(null)));
    assert_eq!(house.request_with(house.own()).failed(refused()), NextKey::Another);
    house.recorded().await;
    let (state, set_aside) = shown().await;
    assert_eq!(
        (state, &set_aside["reason"], &set_aside["status"]),
        (json!("set_aside"), &json!("refused"), &json!(401))
    );
    assert!(set_aside["since"].is_string(), "{set_aside}");
    // Without another key, requests use it whatever the provider says.
    let further = format!("/v1/admin/provider-keys/{}", house.further[0]);
    house.lab.send(&operator, "DELETE", &further, &json!({})).await.must(200);
    assert_eq!(shown().await, (json!("in_use"), json!(null)));
    house.lab.send(&operator, "PATCH", &one, &json!({"api_key": null})).await.must(200);
    assert_eq!(shown().await, (json!(null), json!(null)));
}

#[tokio::test]
async fn looking_when_a_key_is_tried_again_leaves_the_try_to_a_request() {
    let house = House::new(&[json!({})]).await;
    let mut request = house.request_with(house.key(0));
    assert_eq!(request.failed(refused()), NextKey::Another);
    house.recorded().await;
    let row = || {
        let rows = ProviderKeys::rows(&house.lab.admin.tables.load(), &house.provider(), true);
        rows.into_iter().find(|row| row.key == house.key(0)).unwrap()
    };
    let due = house.keys.tried_again_at(&row()).unwrap();
    for _ in 0..59 {
        house.lab.wait(1);
        assert_eq!(house.keys.tried_again_at(&row()), Some(due));
    }
    house.lab.wait(1);
    for _ in 0..3 {
        assert_eq!(house.keys.tried_again_at(&row()), None, "the next request does");
    }
    assert_eq!(house.choose(&mut KeyAttempts::new()), Ok(house.key(0)));
    assert!(house.keys.tried_again_at(&row()).is_some(), "that request did");
}

#[tokio::test]
async fn a_request_is_sent_with_three_keys_at_most_and_with_two_if_it_may_be_to_blame_itself() {
    let house = House::new(&[json!({}), json!({}), json!({}), json!({}), json!({})]).await;
    let calls = |mut request: KeyAttempts, failures: &[Option<KeyFailure>]| {
        let mut calls = 0;
        loop {
            house.choose(&mut request).unwrap();
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
        house.recorded().await;
        house.lab.wait(3600);
    }
}

#[tokio::test]
async fn a_key_goes_to_no_other_host_than_it_was_given_for() {
    let house = House::new(&[json!({})]).await;
    let one = format!("/v1/admin/providers/{}", house.provider);
    let elsewhere = json!({"base_url": "https://up.example.com:8443/v1", "api_key": "own"});
    let refused = house.lab.send(&house.lab.operator(), "PATCH", &one, &elsewhere).await;
    assert_eq!(refused.wrong_field(), "base_url");
    let same_host = json!({"base_url": "https://up.example.com/v2"});
    house.lab.send(&house.lab.operator(), "PATCH", &one, &same_host).await.must(200);
    let rows = |base_url: &str| {
        let moved = Provider { base_url: Some(base_url.to_owned()), ..Provider::clone(&house.provider()) };
        ProviderKeys::rows(&house.lab.admin.tables.load(), &moved, false).len()
    };
    assert_eq!(rows("https://up.example.com/v2"), 1);
    for other in ["https://up.example.com:8443/v2", "http://up.example.com/v2", "https://up.example.com.evil.example"] {
        assert_eq!(rows(other), 0, "{other}");
    }
}

#[tokio::test]
async fn a_redactor_knows_every_key_that_the_request_was_sent_with() {
    let house = House::new(&[json!({})]).await;
    let mut request = KeyAttempts::new();
    house.choose(&mut request).unwrap();
    assert!(request.send(&Secret::new("first")).is_empty());
    request.failed(refused());
    house.choose(&mut request).unwrap();
    assert_eq!(request.send(&Secret::new("second")), [Secret::new("first")]);
    house.recorded().await;
}
