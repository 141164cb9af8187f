//! A request for the number of a prompt's tokens. An upstream of the same dialect counts them; otherwise they are estimated.

use std::collections::BTreeSet;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::facts::Unpriced;
use intermediate::fields::Path;
use intermediate::json;
use intermediate::shared_dialect::SharedDialect;
use provider_dialects::{CountTarget, Endpoint, ProviderKind};
use surfaces::Surface;
use surfaces::anthropic::CountRequest;

use crate::passthrough::{anthropic, shortcut};

/// Bytes of JSON per token, as a rule of thumb.
const BYTES_PER_TOKEN: u64 = 4;

/// A well-formed request to count tokens, of a surface that has such requests.
pub struct TokenCountRequest {
    surface: Surface,
    body: Bytes,
    request: CountRequest,
}

impl TokenCountRequest {
    /// Errors: `INVALID_REQUEST` and `MODEL_UNPRICED`, as for a request of the surface.
    pub fn parse(surface: Surface, body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        let request = CountRequest::read(text)?;
        Ok(Self { surface, body, request })
    }

    /// The requested frontend model.
    pub fn model(&self) -> &str {
        &self.request.model_name
    }

    /// The first field that changes the cost of a message and that the provider does not allow: what it names at the
    /// provider is not for everybody.
    pub fn unpriced(&self, allowed: &BTreeSet<String>) -> Option<&Unpriced> {
        self.request.unpriced.iter().find(|field| !allowed.contains(field.name))
    }

    /// The fields that change the cost of a message.
    pub fn unpriced_fields(&self) -> &[Unpriced] {
        &self.request.unpriced
    }

    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The endpoint of this kind that counts, and the body for it; `None` if the kind does not count. Errors:
    /// `INVALID_REQUEST` if the body would have no message.
    pub fn for_upstream(
        &self,
        kind: ProviderKind,
        target: &CountTarget<'_>,
    ) -> Result<Option<(Endpoint, Bytes)>, Refusal> {
        let (Some(SharedDialect::Anthropic), Some(endpoint)) =
            (shortcut(self.surface, kind), provider_dialects::of(kind).endpoint())
        else {
            return Ok(None);
        };
        let endpoint = Endpoint { path: |_| "/v1/messages/count_tokens".into(), ..*endpoint };
        let body = anthropic::edited_count(&self.body, &self.request, target)?;
        Ok(Some((endpoint, body)))
    }

    /// An estimate, from the bytes that the prompt's texts take in the body and their tokens.
    pub fn estimate(&self, text_bytes: u64, text_tokens: u64, prefix: Option<&str>) -> u64 {
        let bytes = self.request.prompt_bytes;
        let prefix = prefix.map_or(0, str::len) as u64;
        let other = bytes.saturating_sub(text_bytes).saturating_sub(self.request.base64_bytes).saturating_add(prefix);
        let tokens = text_tokens.saturating_add(other / BYTES_PER_TOKEN).saturating_add(self.request.media_tokens);
        tokens.max(1)
    }
}

/// The count in an upstream's response.
pub fn read_token_count(text: &str) -> Option<u64> {
    json::check(text).ok()?;
    json::field(text, "input_tokens").and_then(json::integer)
}

/// The response to a client.
pub fn token_count(tokens: u64) -> Bytes {
    format!("{{\"input_tokens\":{tokens}}}\n").into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(body: &Value) -> Result<TokenCountRequest, Refusal> {
        TokenCountRequest::parse(Surface::Anthropic, body.to_string().into())
    }

    #[test]
    fn a_request_goes_to_who_counts_with_the_model_and_the_prefix() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": []});
        let request = parsed(&body).expect("a request");
        let target = CountTarget { model: "b", system_prefix: Some("p"), takes_signed_thoughts_alone: false };
        assert!(request.for_upstream(ProviderKind::Openai, &target).is_ok_and(|counted| counted.is_none()));
        let (endpoint, sent) =
            request.for_upstream(ProviderKind::Anthropic, &target).expect("a body").expect("it counts");
        let invocation = provider_dialects::Invocation { model: "b", streamed: false, api_version: None, region: None };
        assert_eq!((endpoint.path)(&invocation), "/v1/messages/count_tokens");
        let mut wanted = body;
        wanted["model"] = json!("b");
        wanted["system"] = json!("p");
        assert_eq!(serde_json::from_slice::<Value>(&sent).expect("JSON"), wanted);
    }

    #[test]
    fn an_estimate_is_of_the_prompt_alone() {
        let messages = json!([{"role": "user", "content": "hi"}]);
        let estimate = |body: Value| parsed(&body).expect("a request").estimate(0, 0, None);
        let plain = estimate(json!({"model": "m", "messages": messages}));
        let metadata = json!({"user_id": "u".repeat(2_000)});
        let other = json!({"model": "a-longer-name", "messages": messages, "max_tokens": 5, "metadata": metadata});
        assert_eq!(estimate(other), plain);
        let tools = json!([{"name": "f", "description": "d".repeat(400), "input_schema": {}}]);
        assert!(estimate(json!({"model": "m", "messages": messages, "tools": tools})) > plain + 100);
    }

    #[test]
    fn images_are_estimated_and_not_read_as_text() {
        let image = json!({"type": "base64", "media_type": "image/png", "data": "A".repeat(100_000)});
        let blocks = json!([{"type": "image", "source": image}]);
        let request = parsed(&json!({"model": "m", "messages": [{"role": "user", "content": blocks}]})).expect("one");
        assert!((1_600..1_700).contains(&request.estimate(0, 0, None)));
        for bad in [json!({}), json!({"model": "m"}), json!({"model": 7, "messages": []}), json!([])] {
            assert!(parsed(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_request_for_a_message_may_not_have_is_not_counted_either() {
        let long = json!({"type": "ephemeral", "ttl": "1h"});
        let ask = |more: Value| {
            let mut body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            body
        };
        for (more, name) in [
            (json!({ "cache_control": long }), "cache_control"),
            (json!({"tools": [{"name": "f", "cache_control": long}]}), "cache_control"),
            (json!({"system": [{"type": "text", "text": "x", "cache_control": long}]}), "cache_control"),
            (json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}), "tools"),
            (json!({"speed": "fast"}), "speed"),
        ] {
            let allowed = BTreeSet::from([name.to_owned()]);
            let counted = parsed(&ask(more.clone())).expect("a request");
            assert!(counted.unpriced(&BTreeSet::new()).is_some(), "{more}");
            assert!(counted.unpriced(&allowed).is_none(), "{more}");
            let message = crate::ClientRequest::parse(Surface::Anthropic, ask(more.clone()).to_string().into());
            let message = message.expect("a request");
            assert!(message.unpriced(ProviderKind::Anthropic, &BTreeSet::new()).is_some(), "{more}");
            assert!(message.unpriced(ProviderKind::Anthropic, &allowed).is_none(), "{more}");
        }
    }

    #[test]
    fn a_count_is_a_whole_number() {
        for (text, count) in [
            (r#"{"input_tokens":7}"#, Some(7)),
            (r#"{"input_tokens":-7}"#, None),
            (r#"{"input_tokens":"7"}"#, None),
            ("<html>", None),
            (r#"{"input_tokens":7"#, None),
        ] {
            assert_eq!(read_token_count(text), count, "{text}");
        }
    }
}
