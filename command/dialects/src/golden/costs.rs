//! The reports of `costs.jsonl`, read into the classes that the table names. `events` computes their costs.

use events::usage::ServiceTier;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Row {
    family: String,
    dialect: String,
    case: String,
    usage: Value,
    classes: Value,
    service_tier: Option<ServiceTier>,
}

/// The whole answer of a provider with this report.
fn answer(row: &Row) -> Value {
    let (usage, tier) = (&row.usage, row.service_tier.map_or("default", ServiceTier::as_str));
    match row.dialect.as_str() {
        "openai" => json!({
            "id": "a", "model": "m", "service_tier": tier, "usage": usage,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": "x" }, "finish_reason": "stop" }],
        }),
        "bedrock" => json!({
            "output": { "message": { "role": "assistant", "content": [{ "text": "x" }] } }, "stopReason": "end_turn",
            "usage": usage, "serviceTier": { "type": tier },
        }),
        "cohere" => json!({
            "id": "a", "message": { "role": "assistant", "content": [{ "type": "text", "text": "x" }] },
            "finish_reason": "COMPLETE", "usage": usage,
        }),
        "ollama" => {
            let mut answer = json!({
                "model": "m", "message": { "role": "assistant", "content": "x" }, "done": true, "done_reason": "stop",
            });
            let counts = usage.as_object().expect("counts").clone();
            answer.as_object_mut().expect("an object").extend(counts);
            answer
        }
        "anthropic" | "vertex" if usage.get("input_tokens").is_some() => json!({
            "type": "message", "id": "a", "model": "m", "content": [{ "type": "text", "text": "x" }],
            "stop_reason": "end_turn", "usage": usage,
        }),
        _ => json!({
            "candidates": [{ "content": { "role": "model", "parts": [{ "text": "x" }] }, "finishReason": "STOP", "index": 0 }],
            "usageMetadata": usage,
        }),
    }
}

/// Holds: inf.token-classes, inf.cost
#[test]
fn the_reports_of_every_family_are_read_into_the_classes_that_are_billed() {
    let table = std::fs::read_to_string(folder("costs.jsonl")).expect("the table");
    let mut rows = 0;
    for line in table.lines() {
        let row: Row = serde_json::from_str(line).expect(line);
        let kind = ProviderKind::parse(&row.dialect).expect("a kind");
        let reader = AnswerReader::Chat(Surface::Native, KeptCalls::All);
        let read = reader.read(kind, answer(&row).to_string().into(), None);
        let metered = read.unwrap_or_else(|_| panic!("{} {}: no answer", row.family, row.case)).metered;
        let classes = json!(metered.reported().expect("a report"));
        let billed: serde_json::Map<_, _> =
            classes.as_object().expect("classes").clone().into_iter().filter(|(_, tokens)| *tokens != 0).collect();
        assert_eq!(Value::Object(billed), row.classes, "{} {}", row.family, row.case);
        assert_eq!(metered.service_tier, row.service_tier, "{} {}", row.family, row.case);
        rows += 1;
    }
    assert_eq!(rows, 200);
}
