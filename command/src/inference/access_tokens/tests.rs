use std::sync::atomic::{AtomicU32, Ordering};

use chrono::DateTime;
use events::time::ManualClock;
use tokio::time::timeout;

use super::*;

struct Lab {
    clock: Arc<ManualClock>,
    tokens: Arc<AccessTokens>,
    fetched: AtomicU32,
}

impl Lab {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
        let port: Arc<dyn Clock> = Arc::clone(&clock) as _;
        Self { clock, tokens: AccessTokens::new(port), fetched: AtomicU32::new(0) }
    }

    /// At this second since the beginning, which is not before now.
    fn at(&self, second: u64) -> &Self {
        self.clock.advance(Duration::from_secs(second) - self.clock.monotonic());
        self
    }

    /// The text of the token for a generation, if a fetch would give this: the number of the fetch.
    async fn token(&self, generation: u32, granted: Result<u64, TokenError>) -> Result<String, TokenError> {
        let fetch = async {
            let number = self.fetched.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::task::yield_now().await;
            let lasts = Duration::from_secs(granted?);
            Ok(GrantedToken { token: Secret::new(format!("t{number}")), lasts })
        };
        let token = self.tokens.token(uuid::Uuid::from_u128(1).into(), generation, fetch).await;
        token.map(|token| token.reveal().to_owned())
    }
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
    for (seconds, wanted, fetched) in [(3299, "t1", 1), (3300, "t2", 2), (3301, "t2", 2)] {
        assert_eq!(lab.at(seconds).token(1, Ok(600)).await, token(wanted), "at {seconds}");
        assert_eq!(lab.fetched.load(Ordering::Relaxed), fetched, "at {seconds}");
    }
    // A short one is renewed at half of its life.
    assert_eq!(lab.at(3599).token(1, Ok(600)).await, token("t2"));
    assert_eq!(lab.at(3600).token(1, Ok(600)).await, token("t3"));
}

#[tokio::test]
async fn a_failure_stands_for_a_moment_and_an_old_token_to_its_end() {
    let lab = Lab::new();
    let refused = Err(TokenError::Refused(400));
    let all = futures_util::future::join_all((0..50).map(|_| lab.token(1, refused.clone().map(|_: String| 0)))).await;
    assert!(all.iter().all(|got| *got == refused), "{all:?}");
    assert_eq!(lab.fetched.load(Ordering::Relaxed), 1);
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
async fn who_gives_up_leaves_the_fetch_to_the_next() {
    let lab = Lab::new();
    let never = lab.tokens.token(uuid::Uuid::from_u128(1).into(), 1, std::future::pending());
    assert!(timeout(Duration::from_millis(1), never).await.is_err());
    assert_eq!(lab.token(1, Ok(3600)).await, token("t1"));
}

#[tokio::test]
async fn a_token_in_force_serves_all_others_while_one_request_renews_it() {
    let lab = Lab::new();
    assert_eq!(lab.token(1, Ok(3600)).await, token("t1"));
    lab.at(3400);
    let mut renewing = Box::pin(lab.tokens.token(uuid::Uuid::from_u128(1).into(), 1, std::future::pending()));
    assert!(timeout(Duration::from_millis(1), &mut renewing).await.is_err());
    let others = timeout(Duration::from_secs(5), lab.token(1, Ok(3600))).await;
    assert_eq!(others.expect("no wait"), token("t1"));
    drop(renewing);
    assert_eq!(lab.token(1, Ok(3600)).await, token("t2"));
}
