//! Vertex AI, and the server that gives access tokens for it. Paths select the behaviour, since bodies name no model.

use std::io;

use http::Response;
use http::header::AUTHORIZATION;
use serde_json::json;

use super::Seen;
use super::answer::TEXT;
use super::responses::{Pieces, whole};

/// The token that [`TOKEN_PATH`] gives, and without which no model answers.
pub const TOKEN: &str = "ya29.a0-token-of-the-mock-7Hq2xVt9LmBz";
pub const TOKEN_PATH: &str = "/token";
/// Gives a token first that no model takes, and then [`TOKEN`].
pub const STALE_PATH: &str = "/stale/token";
/// Refuses every key.
pub const REFUSING_PATH: &str = "/refusing/token";
/// The error of a refusal.
pub const REFUSAL: &str = "invalid_grant";
/// Redirects, as a proxy does that wants to see a person.
pub const REDIRECTING_PATH: &str = "/redirecting/token";

/// The response at a path of Google's, of which this is request number `count`; `None` for other paths.
pub fn respond(seen: &Seen, count: usize) -> Option<io::Result<Response<Pieces>>> {
    let json = "application/json";
    Some(Ok(match seen.path.as_str() {
        TOKEN_PATH | STALE_PATH => {
            let token = if seen.path == STALE_PATH && count == 1 { "ya29.stale" } else { TOKEN };
            let token = json!({ "access_token": token, "expires_in": 3599, "token_type": "Bearer" });
            whole(200, json, token.to_string())
        }
        REFUSING_PATH => whole(400, json, json!({ "error": REFUSAL, "error_description": "no" }).to_string()),
        REDIRECTING_PATH => whole(302, json, String::new()),
        path if path.ends_with(":generateContent") => {
            let given = seen.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            // Gemini's own keys come in a header of their own.
            if given != Some(&format!("Bearer {TOKEN}")) && !seen.headers.contains_key("x-goog-api-key") {
                let error = json!({ "error": { "code": 401, "message": "m", "status": "UNAUTHENTICATED" } });
                return Some(Ok(whole(401, json, error.to_string())));
            }
            let content = json!({ "role": "model", "parts": [{ "text": TEXT }] });
            let usage = json!({ "promptTokenCount": 12, "candidatesTokenCount": 9, "totalTokenCount": 21 });
            let answer =
                json!({ "candidates": [{ "content": content, "finishReason": "STOP" }], "usageMetadata": usage });
            whole(200, json, answer.to_string())
        }
        _ => return None,
    }))
}
