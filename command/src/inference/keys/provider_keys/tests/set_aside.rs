//! Keys that are set aside: when, for how long, and which ones serve meanwhile.

use projections::tables;

use super::*;

#[tokio::test]
async fn a_key_that_many_requests_find_refused_is_set_aside_once_and_each_goes_on_with_another() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut requests: Vec<_> = (0..50).map(|_| provider.request_with(provider.key(0))).collect();
    for request in &mut requests {
        assert_eq!(request.failed(refused()), NextKey::Another);
        assert_eq!(provider.choose(request), Ok(provider.own()));
        assert_eq!(provider.chosen(), [provider.own()], "before it is recorded");
    }
    assert_eq!(provider.recorded().await, [SET_ASIDE]);
    assert_eq!(provider.chosen(), [provider.own()]);
    assert_eq!(provider.lab.admin.tables.load().keys_set_aside(), 1);
    let one = format!("/v1/admin/provider-keys/{}", provider.further[0]);
    let shown = provider.lab.send(&provider.lab.operator(), "PATCH", &one, &json!({})).await.must(200);
    assert_eq!((&shown["state"], &shown["set_aside"]["reason"]), (&json!("set_aside"), &json!("refused")));
    assert_eq!(shown["set_aside"]["status"], 401);
}

#[tokio::test]
async fn a_key_is_tried_again_after_a_minute_then_two_and_is_in_use_once_it_is_accepted() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    assert_eq!(request.failed(out_of_money()), NextKey::Another);
    assert_eq!(provider.choose(&mut request), Ok(provider.own()));
    provider.succeeds(&mut request);
    assert_eq!(provider.recorded().await, [SET_ASIDE]);
    provider.chosen();
    for seconds in [60, 120, 240] {
        provider.lab.wait(seconds - 1);
        assert_eq!(provider.chosen(), [provider.own()], "after {seconds} s");
        provider.lab.wait(1);
        let mut request = KeyAttempts::new();
        assert_eq!(provider.choose(&mut request), Ok(provider.key(0)), "after {seconds} s");
        assert_eq!(provider.chosen(), [provider.own()], "one request tries it");
        assert_eq!(request.failed(refused()), NextKey::Another);
    }
    provider.lab.wait(480);
    let mut request = provider.request_with(provider.key(0));
    provider.succeeds(&mut request);
    assert_eq!(provider.recorded().await, [SET_ASIDE, RESTORED]);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
}

#[tokio::test]
async fn a_new_secret_is_used_at_once_and_a_late_refusal_of_the_old_one_does_not_count() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut late = provider.request_with(provider.key(0));
    provider.request_with(provider.key(0)).failed(refused());
    assert_eq!(provider.recorded().await, [SET_ASIDE]);
    let one = format!("/v1/admin/provider-keys/{}", provider.further[0]);
    let changed =
        provider.lab.send(&provider.lab.operator(), "PATCH", &one, &json!({"api_key": "new"})).await.must(200);
    assert_eq!((&changed["state"], &changed["set_aside"]), (&json!("in_use"), &json!(null)));
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
    late.failed(refused());
    assert_eq!(provider.recorded().await, [SET_ASIDE]);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
    assert_eq!(provider.lab.admin.tables.load().keys_set_aside(), 0);
}

#[tokio::test]
async fn without_another_key_those_that_are_set_aside_are_used_and_each_request_tries_one() {
    let provider = TestProvider::new(&[json!({})]).await;
    for key in [provider.own(), provider.key(0)] {
        let mut request = provider.request_with(key);
        request.failed(refused());
        provider.recorded().await;
    }
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
    let mut request = provider.request_with(provider.own());
    provider.succeeds(&mut request);
    assert_eq!(provider.chosen(), [provider.own()], "the one that was accepted");
    assert_eq!(request.failed(refused()), NextKey::None);
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE], "a success between two trials leaves no event");
}

#[tokio::test]
async fn if_all_keys_are_set_aside_the_one_that_was_accepted_last_serves() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut late = [provider.request_with(provider.own()), provider.request_with(provider.key(0))];
    let mut request = provider.request_with(provider.own());
    provider.succeeds(&mut request);
    late.iter_mut().for_each(|request| {
        request.failed(refused());
    });
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.chosen(), [provider.own()]);
    // It fails now, and the other one serves.
    assert_eq!(provider.request_with(provider.own()).failed(refused()), NextKey::None);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
    let mut request = provider.request_with(provider.key(0));
    provider.succeeds(&mut request);
    assert_eq!(provider.chosen(), [provider.key(0)]);
}

#[tokio::test]
async fn keys_of_a_tenants_own_provider_are_set_aside_and_not_counted() {
    let lab = Lab::new().await;
    let tenant = lab.make("/tenants", json!({"name": "t"})).await;
    let provider = TestProvider::of(lab, json!(tenant), &[json!({})]).await;
    for key in [provider.own(), provider.key(0)] {
        provider.request_with(key).failed(refused());
        provider.recorded().await;
    }
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.lab.admin.tables.load().keys_set_aside(), 0);
}

#[tokio::test]
async fn a_restart_keeps_what_is_set_aside_and_forgets_what_is_short() {
    let provider = TestProvider::new(&[json!({}), json!({})]).await;
    provider.request_with(provider.key(0)).failed(refused());
    provider.request_with(provider.key(1)).failed(limited());
    provider.recorded().await;
    assert_eq!(provider.chosen(), [provider.own()]);
    let log = &provider.lab.admin.log;
    let (tables, _task) = tables::start(log).await.unwrap();
    let admin = &provider.lab.admin;
    let after = ProviderKeys::new(log.clone(), tables, Arc::clone(&admin.clock), admin.ids.clone());
    let provider = TestProvider { keys: after, ..provider };
    assert_eq!(provider.chosen(), [provider.own(), provider.key(1)]);
}

#[tokio::test]
async fn a_provider_shows_of_its_own_key_what_a_provider_key_shows() {
    let provider = TestProvider::new(&[json!({})]).await;
    let (operator, one) = (provider.lab.operator(), format!("/v1/admin/providers/{}", provider.id));
    let shown = async || {
        let mut shown = provider.lab.send(&operator, "PATCH", &one, &json!({})).await.must(200);
        (shown["key_state"].take(), shown["key_set_aside"].take())
    };
    assert_eq!(shown().await, (json!("in_use"), json!(null)));
    assert_eq!(provider.request_with(provider.own()).failed(refused()), NextKey::Another);
    provider.recorded().await;
    let (state, set_aside) = shown().await;
    assert_eq!(
        (state, &set_aside["reason"], &set_aside["status"]),
        (json!("set_aside"), &json!("refused"), &json!(401))
    );
    assert!(set_aside["since"].is_string(), "{set_aside}");
    // Without another key, requests use it whatever the provider says.
    let further = format!("/v1/admin/provider-keys/{}", provider.further[0]);
    provider.lab.send(&operator, "DELETE", &further, &json!({})).await.must(200);
    assert_eq!(shown().await, (json!("in_use"), json!(null)));
    provider.lab.send(&operator, "PATCH", &one, &json!({"api_key": null})).await.must(200);
    assert_eq!(shown().await, (json!(null), json!(null)));
}

#[tokio::test]
async fn looking_when_a_key_is_tried_again_leaves_the_try_to_a_request() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    assert_eq!(request.failed(refused()), NextKey::Another);
    provider.recorded().await;
    let row = || {
        let rows = ProviderKeys::rows(&provider.lab.admin.tables.load(), &provider.row(), true);
        rows.into_iter().find(|row| row.key == provider.key(0)).unwrap()
    };
    let due = provider.keys.tried_again_at(&row()).unwrap();
    for _ in 0..59 {
        provider.lab.wait(1);
        assert_eq!(provider.keys.tried_again_at(&row()), Some(due));
    }
    provider.lab.wait(1);
    for _ in 0..3 {
        assert_eq!(provider.keys.tried_again_at(&row()), None, "the next request does");
    }
    assert_eq!(provider.choose(&mut KeyAttempts::new()), Ok(provider.key(0)));
    assert!(provider.keys.tried_again_at(&row()).is_some(), "that request did");
}
