//! Vertex AI.

use events::refusal::Refusal;
use events::refused_parameters::RefusedParameters;
use provider_dialects::{NO_FIELDS, OutboundTarget, ProviderKind, UpstreamCap};
use serde_json::{Value, json};
use surfaces::Surface;

use crate::ClientRequest;

fn sent(model: &str, asked: &Value) -> Result<Value, Refusal> {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
    let request = ClientRequest::parse(Surface::OpenAi, body.to_string().into()).unwrap();
    let output_cap = UpstreamCap { tokens: 9, field: None };
    let target = OutboundTarget {
        model,
        output_cap,
        refused: RefusedParameters::NONE,
        server: None,
        takes_signed_thoughts_alone: false,
        context_window: None,
        system_prefix: None,
        allowed_fields: &NO_FIELDS,
    };
    let body = request.upstream_body(ProviderKind::Vertex, &target)?;
    Ok(serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_request_is_written_and_refused_as_its_model_takes_it() {
    let claude = sent("claude-sonnet-4@20250514", &json!({"stream": true})).unwrap();
    let message = json!({"role": "user", "content": [{"type": "text", "text": "hi"}]});
    let wanted = json!({"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "stream": true,
        "messages": [message]});
    assert_eq!(claude, wanted);
    let gemini = sent("gemini-2.5-pro", &json!({"stream": true, "n": 2})).unwrap();
    assert_eq!(gemini["generationConfig"], json!({"maxOutputTokens": 9, "candidateCount": 2}));
    // Anthropic gives one choice.
    assert_eq!(sent("claude-x", &json!({"n": 2})).unwrap_err().details["field"], "n");
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let one_call = json!({"tools": tools, "parallel_tool_calls": false});
    assert!(sent("claude-x", &one_call).is_ok() && sent("gemini-x", &one_call).is_ok());
}
