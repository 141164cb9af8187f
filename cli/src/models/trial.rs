//! One small request to a model. It is streamed, so that the time to the first token is known.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::super::gateway_client::{GatewayClient, GatewayError, Refused};
use super::event_stream::EventStream;

/// The result of a request.
pub struct Trial {
    pub text: String,
    /// The gateway's whole answer, without its output.
    pub completed: Value,
    /// `None` if no token came.
    pub to_first_token: Option<Duration>,
    pub whole: Duration,
    /// Calls that failed before; `None` if they are not known.
    pub failed: Option<Vec<Value>>,
}

/// Sends the request, and passes each piece of the answer's text on.
///
/// Errors: it was refused or failed, also in the middle of the stream; the gateway cannot be reached.
pub async fn attempt(
    gateway: &GatewayClient,
    model: &str,
    message: &str,
    shown: &mut impl FnMut(&str),
) -> Result<Trial, GatewayError> {
    let body = json!({ "model": model, "messages": [{ "role": "user", "content": message }], "stream": true });
    let began = Instant::now();
    let response = gateway.send(Method::POST, "/v1/inference/chat", Some(body.to_string())).await?;
    let status = response.status();
    if !status.is_success() {
        let refused = Refused::of(status.as_u16(), &gateway.body(response).await?);
        return Err(gateway.refused(refused));
    }
    let (mut text, mut to_first_token) = (String::new(), None);
    let mut events = EventStream::new(gateway, response);
    while let Some(mut event) = events.next().await? {
        match event.name.as_str() {
            "completed" => {
                let whole = began.elapsed();
                return Ok(Trial { text, completed: event.data, to_first_token, whole, failed: None });
            }
            "error" => {
                let refused = Refused { status: status.as_u16(), error: event.data["error"].take() };
                return Err(gateway.refused(refused));
            }
            _ => {
                to_first_token.get_or_insert_with(|| began.elapsed());
                if let (Some("text"), Some(piece)) = (event.data["type"].as_str(), event.data["text"].as_str()) {
                    shown(piece);
                    text.push_str(piece);
                }
            }
        }
    }
    Err(gateway.unexpected("its response ended in the middle"))
}
