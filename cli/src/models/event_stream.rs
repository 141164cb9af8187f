//! Reads the events of a stream of the gateway, of its own surface.

use reqwest::Response;
use serde_json::Value;

use super::super::gateway_client::{GatewayClient, GatewayError};

/// The longest event.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The stream of one response.
pub struct EventStream<'a> {
    gateway: &'a GatewayClient,
    response: Response,
    received: Vec<u8>,
}

/// An event with its data.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamEvent {
    pub name: String,
    pub data: Value,
}

impl<'a> EventStream<'a> {
    pub const fn new(gateway: &'a GatewayClient, response: Response) -> Self {
        Self { gateway, response, received: Vec::new() }
    }

    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, GatewayError> {
        loop {
            if let Some(event) = take_event(&mut self.received) {
                return Ok(Some(event));
            }
            if self.received.len() > EVENT_BYTES_MAX {
                return Err(self.gateway.unexpected("an event of its response is too long"));
            }
            let chunk = self.response.chunk().await.map_err(|error| self.gateway.unreachable(&error))?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.received.extend_from_slice(&chunk);
        }
    }
}

/// Takes the first event that is complete. One without data is skipped.
fn take_event(received: &mut Vec<u8>) -> Option<StreamEvent> {
    loop {
        let end = received.windows(2).position(|two| two == b"\n\n")?;
        let block: Vec<u8> = received.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block);
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
        if let Some(data) = field("data:") {
            let name = field("event:").unwrap_or_default().to_owned();
            return Some(StreamEvent { name, data: serde_json::from_str(data).unwrap_or_default() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_read_once_it_is_complete() {
        let mut received = b"event: output.delta\ndata: {\"text\":\"h".to_vec();
        assert_eq!(take_event(&mut received), None);
        received.extend_from_slice(b"i\"}\n\n: keep-alive\n\nevent: completed\ndata: {}\n\nevent: x");
        let event = |name: &str, data| Some(StreamEvent { name: name.to_owned(), data });
        assert_eq!(take_event(&mut received), event("output.delta", json!({ "text": "hi" })));
        assert_eq!(take_event(&mut received), event("completed", json!({})));
        assert_eq!((take_event(&mut received), received.as_slice()), (None, &b"event: x"[..]));
    }
}
