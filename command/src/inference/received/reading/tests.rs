use bytes::Bytes;
use events::event::Chain;
use serde_json::json;

use super::*;
use crate::body::memory::{BodyBounds, BodyMemory};

/// Reads a small body and a large one, while no thread is free for large ones.
pub async fn large_bodies_must_wait<T>(
    read: impl AsyncFn(&LargeBodies, &Arc<BodyPermit>, Bytes) -> Result<T, Refusal>,
) {
    let memory = BodyMemory::new(BodyBounds::of_administration());
    let permit = Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))));
    let full = LargeBodies::new(0);
    for (len, expected) in [(128 * 1024, None), (128 * 1024 + 1, Some(ErrorCode::Overloaded))] {
        let body = |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string();
        let body = body(&"x".repeat(len - body("").len()));
        let read = read(&full, &permit, body.into()).await;
        assert_eq!(read.err().map(|refusal| refusal.code), expected, "{len} bytes");
    }
}

/// Holds: http.large-bodies
#[tokio::test(start_paused = true)]
async fn only_large_bodies_wait_for_their_turn() {
    large_bodies_must_wait(async |full, permit, body| parse_body(full, permit, Surface::OpenAi, body).await).await;
}
