//! The calls to providers that failed before a request was served, or until it failed, as far as the key may see them.

use events::event::admin::Permission;
use events::ids::RequestId;
use http::Method;
use serde_json::Value;

use super::super::gateway_client::{GatewayClient, GatewayError, has_permission};
use super::super::printable_text::printable_text;
use super::trial::Trial;

/// In the order in which they were made, as `GET /v1/inferences/{request_id}` has them. `None` if the key may not see them, or
/// they cannot be read: a request that was answered is no failure because of that.
pub async fn of(gateway: &GatewayClient, outcome: &Result<Trial, GatewayError>) -> Option<Vec<Value>> {
    let request = match outcome {
        Ok(trial) => &trial.completed["request_id"],
        Err(GatewayError::Refused { refused, .. }) => &refused.error["request_id"],
        Err(_) => return None,
    };
    let request: RequestId = request.as_str()?.parse().ok()?;
    let caller = gateway.request(Method::GET, "/v1/me").await.ok()?;
    // Nobody is refused here, because refusals are recorded.
    if !has_permission(&caller, Permission::UsageRead) {
        return None;
    }
    // The end of the request is recorded, but the view may have only its beginning.
    let ended_at = match outcome {
        Ok(trial) => trial.completed["ledger"]["settled_position"].as_u64()?,
        // A refusal names no position, so the head has to do; behind one address, another gateway's may be older.
        Err(_) => gateway.request(Method::GET, "/v1/log/head").await.ok()?["position"].as_u64()?,
    };
    let path = format!("/v1/inferences/{request}?min_position={ended_at}");
    let mut seen = gateway.request(Method::GET, &path).await.ok()?;
    match seen["attempts_failed"].take() {
        Value::Array(calls) => Some(calls),
        _ => None,
    }
}

/// `openai/gpt-4o (status 401)`, with the provider key if it is not the provider's own.
pub fn in_words(call: &Value) -> String {
    let text = |value: &Value| printable_text(value.as_str().unwrap_or("unknown"));
    let (backend, status) = (&call["backend"], call["status"].as_u64());
    let key = backend["provider_key_id"].as_str().map(|key| format!(", key {}", printable_text(key)));
    let why = why(&text(&call["reason"]), status);
    format!("{}/{} ({why}{})", text(&backend["provider"]), text(&backend["model"]), key.unwrap_or_default())
}

/// The reason of a failed call, with the provider's HTTP status if it answered.
pub fn why(reason: &str, status: Option<u64>) -> String {
    let reason = reason.replace('_', " ");
    match status {
        Some(status) if reason == "status" => format!("status {status}"),
        Some(status) => format!("{reason}, status {status}"),
        None => reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_named_by_its_target_with_why_it_failed() {
        let refused = json!({ "backend": { "provider": "own", "model": "m" }, "reason": "status", "status": 401 });
        assert_eq!(in_words(&refused), "own/m (status 401)");
        let backend = json!({ "provider": "own", "model": "m\u{7}", "provider_key_id": "pky_1" });
        let malformed = json!({ "backend": backend, "reason": "in_band_error", "status": 200 });
        assert_eq!(in_words(&malformed), "own/m (in band error, status 200, key pky_1)");
        assert_eq!(why("connect", None), "connect");
    }
}
