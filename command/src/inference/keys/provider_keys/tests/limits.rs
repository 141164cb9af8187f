//! The limits of keys: those that an administrator has set, and those of the provider.

use http::{HeaderName, HeaderValue};

use super::*;

#[tokio::test]
async fn a_key_at_one_of_its_limits_is_passed_over_and_if_all_are_the_request_waits() {
    let provider = TestProvider::new(&[json!({"concurrent_requests": 1}), json!({"requests_per_minute": 1})]).await;
    drop(provider.request_with(provider.key(1)));
    let running = provider.request_with(provider.key(0));
    assert_eq!(provider.chosen(), [provider.own()]);
    drop(running);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);

    let mut request = provider.request_with(provider.own());
    let _running = provider.request_with(provider.key(0));
    assert_eq!(request.failed(refused()), NextKey::AtLimit(Duration::from_secs(1)));
    provider.recorded().await;
    assert_eq!(provider.choose(&mut KeyAttempts::new()), Err(Choice::AtLimit(Duration::from_secs(1))));
    provider.lab.wait(60);
    assert!(provider.chosen().contains(&provider.key(1)), "its minute is over");
}

#[tokio::test]
async fn tokens_count_against_a_key_when_they_are_known() {
    let provider = TestProvider::new(&[json!({"tokens_per_minute": 100})]).await;
    let mut request = provider.request_with(provider.key(0));
    request.settle(Some(99));
    drop(request);
    let mut request = provider.request_with(provider.key(0));
    request.settle(Some(1));
    drop(request);
    assert_eq!(provider.chosen(), [provider.own()]);
    provider.lab.wait(60);
    assert_eq!(provider.chosen(), [provider.own(), provider.key(0)]);
}

#[tokio::test]
async fn what_a_provider_says_of_a_keys_limits_steers_the_choice_until_their_reset() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    let headers = [
        ("x-ratelimit-limit-tokens", "1000"),
        ("x-ratelimit-remaining-tokens", "3"),
        ("x-ratelimit-reset-tokens", "30s"),
    ];
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    request.answered(&HeaderMap::from_iter(headers), true, &*provider.lab.admin.clock);
    assert_eq!(provider.chosen(), [provider.own()]);
    let mut other = provider.request_with(provider.own());
    assert_eq!(other.failed(refused()), NextKey::Another, "a short key is better than none");
    assert_eq!(provider.choose(&mut other), Ok(provider.key(0)));
    provider.recorded().await;
    provider.lab.wait(30);
    assert_eq!(provider.chosen(), [provider.key(0)], "it has its limits again, and the other one is set aside");
}

#[tokio::test]
async fn a_limit_at_the_provider_sends_a_request_to_a_key_with_room_and_to_no_other() {
    let provider = TestProvider::new(&[json!({})]).await;
    let mut request = provider.request_with(provider.key(0));
    assert_eq!(request.failed(limited()), NextKey::Another);
    assert_eq!(provider.choose(&mut request), Ok(provider.own()));
    assert_eq!(request.failed(limited()), NextKey::None, "the other one has just been limited");
    request.again();
    assert!(provider.choose(&mut request).is_ok(), "after the wait, any of them may be called again");
    assert_eq!(provider.recorded().await, [] as [&str; 0]);
}

#[tokio::test]
async fn limits_hold_for_keys_that_are_set_aside() {
    let further = [(); 2].map(|()| json!({ "requests_per_minute": 3 }));
    let provider = TestProvider::new(&further).await;
    let mut request = KeyAttempts::new();
    for _ in 0..3 {
        provider.choose(&mut request).unwrap();
        request.failed(refused());
    }
    assert_eq!(provider.recorded().await, [SET_ASIDE, SET_ASIDE, SET_ASIDE]);
    let rows: Vec<_> = ProviderKeys::rows(&provider.lab.admin.tables.load(), &provider.row(), false);
    let mut served = Vec::new();
    let mut limited = None;
    for _ in 0..10 {
        let mut request = KeyAttempts::new();
        match request.choose(&provider.keys, &provider.row(), rows.clone(), 10) {
            Ok(chosen) => served.push(chosen.key),
            Err(choice) => limited = Some(choice),
        }
        provider.succeeds(&mut request);
    }
    let count = |key| served.iter().filter(|served| **served == key).count();
    assert_eq!((count(provider.key(0)), count(provider.key(1))), (2, 2), "the refused request counts too");
    assert!(matches!(limited, Some(Choice::AtLimit(_))), "{limited:?}");
}
