//! Which refusals are blamed on a key, and which may be the fault of the request itself.

use super::*;

#[tokio::test]
async fn a_key_without_a_permission_is_not_set_aside() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    assert_eq!(request.failed(Some(KeyFailure::Other)), NextKey::Another);
    assert_eq!(request.failed(None), NextKey::None);
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_request_that_fails_with_every_key_sets_none_aside_and_the_next_begins_with_an_untried_one() {
    let further = [(); 3].map(|()| json!({}));
    let provider = TestProvider::new(&further).await;
    let mut request = KeyAttempts::new();
    let mut tried = Vec::new();
    for next in [NextKey::Another, NextKey::Another, NextKey::None] {
        tried.push(provider.choose(&mut request).unwrap());
        assert_eq!(request.failed(out_of_money()), next);
    }
    let untried = provider.chosen();
    assert_eq!((untried.len(), tried.contains(&untried[0])), (1, false));
    // At another target, the same request counts no second time.
    for _ in 0..20 {
        request.begin_target();
        provider.choose(&mut request).unwrap();
        assert_eq!(request.failed(out_of_money()), NextKey::None);
    }
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_key_that_another_one_stands_in_for_is_set_aside_at_once() {
    let provider = TestProvider::new(&[json!({}), json!({})]).await;
    let mut request = KeyAttempts::new();
    let mut dead = Vec::new();
    for _ in 0..2 {
        dead.push(provider.choose(&mut request).unwrap());
        assert_eq!(request.failed(out_of_money()), NextKey::Another);
    }
    let served = provider.choose(&mut request).unwrap();
    provider.succeeds(&mut request);
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.chosen(), [served]);
}

#[tokio::test]
async fn another_target_proves_nothing_about_a_key() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    request.failed(out_of_money());
    request.begin_target();
    while provider.choose(&mut request) != Ok(provider.own()) {
        request.give_back();
    }
    provider.succeeds(&mut request);
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn keys_that_no_request_is_served_with_are_set_aside_after_three_in_a_row() {
    let provider = TestProvider::new(&[json!({})]).await;
    let fails = |provider: &TestProvider| {
        let mut request = KeyAttempts::new();
        for _ in 0..2 {
            provider.choose(&mut request).unwrap();
            request.failed(out_of_money());
        }
    };
    fails(&provider);
    fails(&provider);
    let mut accepted = provider.request_with(provider.own());
    provider.succeeds(&mut accepted);
    fails(&provider);
    assert_eq!(provider.recorded().await, [SET_ASIDE], "the other one was accepted in between");
    fails(&provider);
    assert_eq!(provider.recorded().await, [SET_ASIDE]);
    // The key that is set aside is not tried any more, and this request is the third in a row.
    provider.choose(&mut KeyAttempts::new()).unwrap();
    fails(&provider);
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.lab.admin.tables.load().keys_set_aside(), 2);
}

#[tokio::test]
async fn all_dead_keys_but_one_are_found_within_few_requests() {
    let further = [(); 9].map(|()| json!({ "weight": 1000 }));
    let provider = TestProvider::new(&further).await;
    let (mut refused_requests, mut calls) = (0, 0);
    for _ in 0..20 {
        let mut request = KeyAttempts::new();
        loop {
            let key = provider.choose(&mut request).unwrap();
            calls += 1;
            if key == provider.own() {
                provider.succeeds(&mut request);
                break;
            }
            if request.failed(out_of_money()) != NextKey::Another {
                refused_requests += 1;
                break;
            }
        }
        provider.recorded().await;
    }
    assert!(refused_requests <= 3, "{refused_requests}");
    assert_eq!(provider.recorded().await.len(), 9);
    assert!(calls <= 20 + 9 + 9, "{calls}");
}

#[tokio::test]
async fn words_alone_set_a_key_aside_only_if_another_one_serves_the_same_request() {
    let provider = TestProvider::new(&[json!({ "weight": 1000 }), json!({ "weight": 1000 })]).await;
    let mut request = provider.request_with(provider.key(0));
    assert_eq!(request.failed(says_out_of_money()), NextKey::Another);
    assert!(!provider.chosen().contains(&provider.key(0)), "others come first");
    while provider.choose(&mut request) != Ok(provider.key(1)) {
        request.give_back();
    }
    assert_eq!(request.failed(says_out_of_money()), NextKey::Another);
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
    assert_eq!(provider.choose(&mut request), Ok(provider.own()));
    provider.succeeds(&mut request);
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE]);
    assert_eq!(provider.chosen(), [provider.own()]);
}

#[tokio::test]
async fn words_about_every_key_set_none_aside_and_are_told_once_until_one_is_accepted() {
    let provider = TestProvider::new(&[json!({}), json!({})]).await;
    let rows = ProviderKeys::rows(&provider.lab.admin.tables.load(), &provider.row(), true);
    let fails_with = |rows: &[KeyRow]| {
        rows.iter().for_each(|row| {
            provider.keys.doubt(row.key, row.generation, KeyBlame::ByWords);
        });
    };
    (0..5).for_each(|_| fails_with(&rows[1..]));
    assert!(!provider.keys.finds_none_accepted(&rows), "one was not refused");
    provider.keys.was_accepted(rows[1].key);
    provider.keys.was_accepted(rows[2].key);
    for _ in 0..2 {
        for is_told in [false, false, true, false] {
            fails_with(&rows);
            assert_eq!(provider.keys.finds_none_accepted(&rows), is_told);
        }
        provider.succeeds(&mut provider.request_with(provider.key(0)));
    }
    let mut request = KeyAttempts::new();
    while provider.choose(&mut request).is_ok() && request.failed(says_out_of_money()) == NextKey::Another {}
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_doubted_key_is_in_use_again_once_it_is_accepted() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut hostile = KeyAttempts::new();
    for _ in 0..2 {
        provider.choose(&mut hostile).unwrap();
        hostile.failed(out_of_money());
    }
    for key in [provider.own(), provider.key(0)] {
        provider.lab.wait(1);
        let mut request = provider.request_with(key);
        provider.succeeds(&mut request);
    }
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
    // While it is doubted, one request a second tries it.
    let mut request = provider.request_with(provider.key(0));
    request.failed(out_of_money());
    assert_eq!(provider.choose(&mut KeyAttempts::new()), Ok(provider.key(0)));
    assert_eq!(provider.chosen(), [provider.own()]);
    provider.lab.wait(1);
    assert_eq!(provider.choose(&mut KeyAttempts::new()), Ok(provider.key(0)));
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn a_new_secret_of_a_doubted_key_is_not_doubted() {
    let provider = TestProvider::new(&[json!({})]).await;
    provider.request_with(provider.key(0)).failed(out_of_money());
    let mut own = provider.request_with(provider.own());
    own.failed(out_of_money());
    let one = format!("/v1/admin/provider-keys/{}", provider.further[0]);
    provider.lab.send(&provider.lab.operator(), "PATCH", &one, &json!({"api_key": "new"})).await.must(200);
    assert_eq!(provider.chosen(), [provider.key(0)]);
}
