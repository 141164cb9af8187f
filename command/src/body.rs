//! A request's body: JSON, bounded and complete, on every surface.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};

/// Bodies beyond this are refused: 32 MiB.
pub const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_WAIT_MAX: Duration = Duration::from_secs(120);

/// How long a body that is not wanted is still taken in. Most clients read no answer before they have sent everything:
/// who hangs up on them gives them a broken pipe instead of the refusal.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// A client that has been silent for so long is listening, or gone.
const SILENCE_MAX: Duration = Duration::from_millis(200);

/// A body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than 32 MiB")]
    TooLarge,
    #[error("the body did not arrive whole")]
    Broken,
    #[error("the body did not arrive in time")]
    Late,
}

/// All of it, in two minutes at most. One whose length is announced as too large is thrown away as long as it comes, for
/// two seconds at most, and not at all where the client waits to be asked for it.
pub async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyError> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        if !headers.contains_key(EXPECT) {
            let _ = tokio::time::timeout(LINGER_MAX, thrown_away(body)).await;
        }
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_WAIT_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_over_limit(&error) => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Late),
    }
}

/// Whether the body is said to be `application/json`, with parameters or without.
pub fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

async fn thrown_away(body: Body) {
    let mut chunks = body.into_data_stream();
    while let Ok(Some(Ok(_))) = tokio::time::timeout(SILENCE_MAX, chunks.next()).await {}
}

fn is_over_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// One that never comes.
    fn stalled() -> Body {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_announced_as_too_large_is_thrown_away_for_as_long_as_it_comes() {
        let mut headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(BODY_BYTES_MAX + 1))]);
        let began = tokio::time::Instant::now();
        assert_eq!(whole(&headers, stalled()).await, Err(BodyError::TooLarge));
        assert_eq!(began.elapsed(), SILENCE_MAX);
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        assert_eq!(whole(&headers, stalled()).await, Err(BodyError::TooLarge));
        assert_eq!(began.elapsed(), SILENCE_MAX, "a client that waits to be asked has sent nothing");
        headers.remove(EXPECT);
        let endless = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(SILENCE_MAX / 2).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        assert_eq!(whole(&headers, Body::from_stream(endless)).await, Err(BodyError::TooLarge));
        assert_eq!(began.elapsed(), SILENCE_MAX + LINGER_MAX);
        let unannounced = Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
        assert_eq!(whole(&HeaderMap::new(), unannounced).await, Err(BodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_come_is_waited_for_two_minutes() {
        assert_eq!(whole(&HeaderMap::new(), stalled()).await, Err(BodyError::Late));
    }
}
