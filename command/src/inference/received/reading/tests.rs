use events::event::Chain;
use serde_json::json;

use super::*;
use crate::body::memory::{BodyBounds, BodyMemory};

/// Holds: http.large-bodies
#[tokio::test(start_paused = true)]
async fn only_large_bodies_wait_for_their_turn() {
    let memory = BodyMemory::new(BodyBounds::of_administration());
    let permit = Arc::new(memory.permit(BodyOwner::of_inference(&Caller::operator(Chain::default()))));
    let full = LargeBodies::new(0);
    for (len, expected) in [(128 * 1024, None), (128 * 1024 + 1, Some(ErrorCode::Overloaded))] {
        let body = |text: &str| json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }).to_string();
        let body = body(&"x".repeat(len - body("").len()));
        let read = parse_body(&full, &permit, Surface::OpenAi, body.into()).await;
        assert_eq!(read.err().map(|refusal| refusal.code), expected, "{len} bytes");
    }
}
