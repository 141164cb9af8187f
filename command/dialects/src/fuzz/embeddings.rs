//! Embeddings: requests of clients, and answers of upstreams.

use std::sync::LazyLock;

use bytes::Bytes;
use fuzzing::{Corpus, fuzz, grown, shown};
use intermediate::embeddings::vectors::CONVERTED_BYTES_MAX;
use serde_json::Value;

use super::super::golden::{MODEL, receipt, usage};
use super::answers::is_a_report;
use super::requests::is_a_refusal;
use super::work::in_measure;
use super::*;

const KINDS: [ProviderKind; 4] =
    [ProviderKind::Openai, ProviderKind::Ollama, ProviderKind::Cohere, ProviderKind::Gemini];
/// Bytes of an answer for each byte of the upstream's: a digit and a comma become 5.3 characters of base64, and four bytes
/// of base64 a number of up to 13.
const OUT_PER_BYTE_MAX: usize = 8;
const OUT_FREE: usize = 64 * 1024;

static REQUESTS: LazyLock<Corpus> = LazyLock::new(|| {
    let names = ["model", "input", "encoding_format", "dimensions", "user", "stream", "messages", "service_tier"];
    Corpus::golden("openai-embeddings/requests", "json").knowing(&names)
});
static ANSWERS: LazyLock<[Corpus; 4]> = LazyLock::new(|| {
    let names = [
        "error", "usage", "data", "index", "embedding", "embeddings", "object", "model", "float", "values", "meta",
        "billed_units", "usageMetadata",
    ];
    let folders = ["openai/embeddings", "ollama/embeddings", "cohere/embeddings", "gemini/embeddings"];
    folders.map(|folder| Corpus::golden(folder, "json").knowing(&names))
});

#[test]
fn a_request_for_embeddings_is_bounded_or_refused() {
    fuzz!(4_000, |dice| {
        let body = REQUESTS.draw(dice);
        let parsed =
            in_measure(body.len(), || ClientRequest::parse(Surface::OpenAiEmbeddings, Bytes::copy_from_slice(&body)));
        let request = match parsed {
            Ok(request) => request,
            Err(refusal) => return is_a_refusal(&refusal, &body),
        };
        // Serde refuses numbers that fit no double, and unpaired surrogates, in what is passed on unread.
        let Ok(json) = serde_json::from_slice::<Value>(&body) else { return };
        let texts = |value: &Value| value.as_str().map_or(0, str::len) as u64;
        let tokens = match &json["input"] {
            Value::Array(inputs) => {
                let of_one = |one: &Value| one.as_array().map_or(1, Vec::len) as u64;
                inputs.iter().map(|one| if one.is_string() { texts(one) } else { of_one(one) }).sum()
            }
            text => texts(text),
        };
        assert!(request.input_tokens_bound() >= tokens, "{}", shown(&body));
        assert!(request.input_tokens_estimate(0) <= request.input_tokens_bound(), "{}", shown(&body));
        assert!(request.facts.output_cap.is_none() && !request.facts.streamed);
        for kind in KINDS {
            let target = EmbeddingsTarget { model: "b", allowed_fields: &NO_FIELDS };
            match in_measure(body.len(), || request.upstream_bodies().embeddings_body(kind, &target)) {
                Ok(sent) => {
                    let sent: Value = serde_json::from_slice(&sent.bytes).expect("JSON is sent");
                    let input = |json: &Value| if json.is_string() { vec![json.clone()] } else { list(json) };
                    let inputs = match kind {
                        ProviderKind::Cohere => list(&sent["texts"]),
                        ProviderKind::Gemini => {
                            let one = |one: &Value| {
                                assert_eq!(one["model"], "models/b", "{}", shown(&body));
                                one["content"]["parts"][0]["text"].clone()
                            };
                            list(&sent["requests"]).iter().map(one).collect()
                        }
                        _ => input(&sent["input"]),
                    };
                    assert_eq!(inputs, input(&json["input"]), "{}", shown(&body));
                    assert!(kind == ProviderKind::Gemini || sent["model"] == "b", "{}", shown(&body));
                }
                Err(refusal) => is_a_refusal(&refusal, &body),
            }
        }
    });
}

fn list(json: &Value) -> Vec<Value> {
    json.as_array().cloned().unwrap_or_default()
}

/// Whatever an upstream sends, the client gets as many vectors as it has inputs, in their order, all of one length, in the
/// encoding that it asked for, and finite; or an error.
#[test]
fn an_answer_is_what_was_asked_for_or_a_fault() {
    fuzz!(6_000, |dice| {
        let which = dice.below(KINDS.len());
        let mut body = ANSWERS[which].draw(dice);
        if dice.one_in(8) {
            body = grown(&body, 64 * 1024, dice);
        }
        let encoding = if dice.one_in(2) { "float" } else { "base64" };
        let inputs = &["a", "b"][..1 + dice.below(2)];
        let ask = serde_json::json!({ "model": "m", "input": inputs, "encoding_format": encoding }).to_string();
        let request = ClientRequest::parse(Surface::OpenAiEmbeddings, ask.into()).expect("a request");
        let reader = request.answer_reader();
        let read = in_measure(body.len(), || reader.read(KINDS[which], Bytes::copy_from_slice(&body), None));
        let answer = match read {
            Ok(answer) => answer,
            Err(FailedAnswer { metered, .. }) => return is_a_report(&metered, &body),
        };
        is_a_report(&answer.metered, &body);
        let usage = usage(&answer.metered);
        let rendered = answer.render(&receipt(&usage, &answer.metered));
        let out_max = (body.len() * OUT_PER_BYTE_MAX + OUT_FREE).min(CONVERTED_BYTES_MAX + OUT_FREE);
        assert!(rendered.len() <= out_max, "{} bytes of {}", rendered.len(), shown(&body));
        // As above.
        let Ok(json) = serde_json::from_slice::<Value>(&rendered) else { return };
        assert_eq!(json["model"], MODEL, "{}", shown(&body));
        let data = list(&json["data"]);
        assert_eq!(data.len(), inputs.len(), "{}", shown(&body));
        let mut lengths = Vec::new();
        for (at, one) in data.iter().enumerate() {
            assert_eq!(one["index"], at, "{}", shown(&body));
            lengths.push(match (&one["embedding"], encoding) {
                (Value::Array(numbers), "float") => {
                    assert!(numbers.iter().all(|n| n.as_f64().is_some_and(f64::is_finite)), "{}", shown(&body));
                    numbers.len()
                }
                (Value::String(text), "base64") => text.len(),
                other => panic!("{other:?} of {}", shown(&body)),
            });
        }
        assert!(lengths.iter().all(|length| *length > 0 && *length == lengths[0]), "{lengths:?}");
    });
}
