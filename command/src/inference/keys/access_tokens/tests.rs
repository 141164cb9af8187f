use std::sync::atomic::{AtomicU32, Ordering};

use chrono::DateTime;
use events::time::ManualClock;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

struct Lab {
    clock: Arc<ManualClock>,
    tokens: Arc<AccessTokens>,
    fetched: Arc<AtomicU32>,
}

impl Lab {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
        let port: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self { clock, tokens: AccessTokens::new(port), fetched: Arc::default() }
    }

    /// At this second since the beginning, which is not before now.
    fn at(&self, second: u64) -> &Self {
        self.clock.advance(Duration::from_secs(second) - self.clock.monotonic());
        self
    }

    /// The text of the token for a generation, if a fetch would give this: the number of the fetch. A fetch that nobody waits
    /// for has ended, too.
    async fn token(&self, generation: u32, granted: Result<u64, TokenError>) -> Result<String, TokenError> {
        let fetched = Arc::clone(&self.fetched);
        let fetch = || async move {
            let number = fetched.fetch_add(1, Ordering::Relaxed) + 1;
            yield_now().await;
            let lasts = Duration::from_secs(granted?);
            Ok(GrantedToken { token: Secret::new(format!("t{number}")), lasts })
        };
        let token = self.tokens.token(KeyGeneration { key: key(), generation }, fetch).await;
        for _ in 0..4 {
            yield_now().await;
        }
        token.map(|token| token.reveal().to_owned())
    }

    fn refuse(&self, text: &str) {
        self.tokens.refused(KeyGeneration { key: key(), generation: 1 }, &Secret::new(text.to_owned()));
    }

    fn fetched(&self) -> u32 {
        self.fetched.load(Ordering::Relaxed)
    }
}

fn key() -> UpstreamKey {
    UpstreamKey::Own(uuid::Uuid::from_u128(1).into())
}

fn token(text: &str) -> Result<String, TokenError> {
    Ok(text.to_owned())
}

/// Holds: inf.access-tokens
#[tokio::test]
async fn a_token_is_fetched_once_for_many_requests_and_renewed_before_its_end() {
    let lab = Lab::new();
    let all = futures_util::future::join_all((0..50).map(|_| lab.token(1, Ok(3600)))).await;
    assert!(all.iter().all(|got| *got == token("t1")), "{all:?}");
    // Even the request that begins to renew it does not wait for the new one.
    for (seconds, wanted, fetched) in [(3299, "t1", 1), (3300, "t1", 2), (3301, "t2", 2)] {
        assert_eq!(lab.at(seconds).token(1, Ok(600)).await, token(wanted), "at {seconds}");
        assert_eq!(lab.fetched(), fetched, "at {seconds}");
    }
    // A short one is renewed at half of its life.
    assert_eq!((lab.at(3599).token(1, Ok(600)).await, lab.fetched()), (token("t2"), 2));
    assert_eq!((lab.at(3600).token(1, Ok(600)).await, lab.fetched()), (token("t2"), 3));
    // One that has ended is waited for.
    assert_eq!((lab.at(9999).token(1, Ok(600)).await, lab.fetched()), (token("t4"), 4));
}

#[tokio::test]
async fn a_failure_stands_for_a_moment_and_an_old_token_to_its_end() {
    let lab = Lab::new();
    let refused = Err(TokenError::Refused(400));
    let all = futures_util::future::join_all((0..50).map(|_| lab.token(1, refused.clone().map(|_: String| 0)))).await;
    assert!(all.iter().all(|got| *got == refused), "{all:?}");
    assert_eq!(lab.fetched(), 1);
    assert_eq!(lab.at(1).token(1, Ok(3600)).await, refused);
    assert_eq!(lab.at(2).token(1, Ok(3600)).await, token("t2"));
    // It is due for renewal at 3302 and ends at 3602.
    assert_eq!(lab.at(3400).token(1, Err(TokenError::Timeout)).await, token("t2"));
    assert_eq!(lab.at(3601).token(1, Err(TokenError::Timeout)).await, token("t2"));
    assert_eq!(lab.at(3604).token(1, Err(TokenError::Timeout)).await, Err(TokenError::Timeout));
}

#[tokio::test]
async fn a_new_key_gets_a_new_token_and_an_old_one_replaces_none() {
    let lab = Lab::new();
    assert_eq!(lab.token(1, Ok(3600)).await, token("t1"));
    assert_eq!(lab.token(2, Ok(3600)).await, token("t2"));
    assert_eq!(lab.token(1, Ok(3600)).await, token("t3"));
    assert_eq!(lab.token(2, Ok(3600)).await, token("t2"));
}

#[tokio::test]
async fn the_fetch_goes_on_for_all_others_when_the_client_that_began_it_leaves() {
    let lab = Lab::new();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let slow = || async move {
        let _ = gone.await;
        Ok(GrantedToken { token: Secret::new("slow".to_owned()), lasts: Duration::from_secs(3600) })
    };
    let first = lab.tokens.token(KeyGeneration { key: key(), generation: 1 }, slow);
    assert!(timeout(Duration::from_millis(1), first).await.is_err());
    let mut second = Box::pin(lab.token(1, Ok(3600)));
    assert!(timeout(Duration::from_millis(1), &mut second).await.is_err());
    go.send(()).expect("it is still being fetched");
    assert_eq!((second.await, lab.fetched()), (token("slow"), 0));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_has_a_deadline_of_its_own() {
    let lab = Lab::new();
    let never = || std::future::pending::<Result<GrantedToken, TokenError>>();
    let (one, other) =
        tokio::join!(lab.tokens.token(KeyGeneration { key: key(), generation: 1 }, never), lab.token(1, Ok(3600)));
    assert_eq!((one.err(), other, lab.fetched()), (Some(TokenError::Timeout), Err(TokenError::Timeout), 0));
    assert_eq!(lab.at(2).token(1, Ok(3600)).await, token("t1"));
}

#[tokio::test]
async fn a_token_in_force_serves_all_while_it_is_renewed() {
    let lab = Lab::new();
    assert_eq!(lab.token(1, Ok(3600)).await, token("t1"));
    lab.at(3400);
    let never = || std::future::pending::<Result<GrantedToken, TokenError>>();
    let renewing = lab.tokens.token(KeyGeneration { key: key(), generation: 1 }, never).await;
    assert!(renewing.is_ok_and(|token| token.reveal() == "t1"));
    assert_eq!((lab.token(1, Ok(3600)).await, lab.fetched()), (token("t1"), 1));
}

/// Holds: inf.access-tokens
#[tokio::test]
async fn a_refused_token_is_dropped_but_not_the_next_one_at_once() {
    let lab = Lab::new();
    assert_eq!(lab.token(1, Ok(99_999)).await, token("t1"));
    // Another generation's, one of long ago, and then this one, by many requests.
    lab.tokens.refused(KeyGeneration { key: key(), generation: 2 }, &Secret::new("t1".to_owned()));
    lab.refuse("t0");
    assert_eq!(lab.token(1, Ok(99_999)).await, token("t1"));
    for _ in 0..5 {
        lab.refuse("t1");
    }
    assert_eq!(lab.token(1, Ok(99_999)).await, token("t2"));
    lab.refuse("t1");
    // The provider refuses whatever it gets: each stays twice as long.
    for (second, text) in [(29, "t2"), (30, "t3"), (89, "t3"), (90, "t4"), (209, "t4"), (210, "t5")] {
        lab.at(second).refuse(&format!("t{}", lab.fetched()));
        assert_eq!(lab.token(1, Ok(99_999)).await, token(text), "at {second}");
    }
    // After a good time it is dropped at once again, and the next one stays as short as in the beginning.
    for (second, text) in [(5000, "t6"), (5029, "t6"), (5030, "t7")] {
        lab.at(second).refuse(&format!("t{}", lab.fetched()));
        assert_eq!(lab.token(1, Ok(99_999)).await, token(text), "at {second}");
    }
}
