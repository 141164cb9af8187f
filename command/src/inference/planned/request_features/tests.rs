use bytes::Bytes;
use dialects::Surface;
use events::time::parse_rfc3339;
use serde_json::{Value, json};

use super::*;

fn features(surface: Surface, body: &Value) -> RequestFeatures {
    let request = ClientRequest::parse(surface, Bytes::from(body.to_string())).expect("a request");
    let tokens = request.input_tokens_estimate(request.input_tokens_bound());
    features_of(&request, tokens, parse_rfc3339("2026-03-04T23:59:00Z").expect("a time"))
}

fn of_text(text: &str) -> RequestFeatures {
    features(Surface::Native, &json!({ "model": "m", "messages": [{ "role": "user", "content": text }] }))
}

#[test]
fn the_language_is_that_of_the_last_message_of_the_user() {
    for (text, language) in [
        ("What is the weather like in Lisbon today?", "en"),
        ("Wie wird das Wetter heute in Lissabon? Bitte kurz.", "de"),
        ("Quel temps fait-il aujourd'hui à Lisbonne ?", "fr"),
        ("¿Qué tiempo hace hoy en Lisboa y mañana en Madrid?", "es"),
        ("今日のリスボンの天気はどうですか", "ja"),
        ("今天里斯本的天气怎么样", "zh"),
        ("Какая сегодня погода в Лиссабоне?", "ru"),
        ("كيف هو الطقس اليوم في لشبونة وما حولها", "ar"),
        ("आज लिस्बन में मौसम कैसा है और कल कैसा रहेगा", "hi"),
        ("Che tempo fa oggi a Lisbona e come sarà domani nella città?", "it"),
        ("오늘 리스본 날씨가 어떻습니까", "ko"),
        ("Wat voor weer is het vandaag in Lissabon en hoe wordt het morgen?", "nl"),
        ("Como está o tempo hoje em Lisboa e como vai estar amanhã?", "pt"),
        ("Hur är vädret idag i Lissabon och hur blir det i morgon?", "sv"),
        ("Bugün Lizbon'da hava nasıl ve yarın nasıl olacak?", "tr"),
        ("Thời tiết hôm nay ở Lisbon như thế nào và ngày mai ra sao?", "vi"),
        ("ok", "und"),
        ("1 + 1 = ?", "und"),
        ("", "und"),
        ("```\nfn main() { println!(\"hello\"); }\n```", "und"),
    ] {
        assert_eq!(of_text(text).language, language, "{text}");
    }
    let conversation = json!({ "model": "m", "messages": [
        { "role": "user", "content": "What is the weather like in Lisbon today?" },
        { "role": "assistant", "content": "It is sunny in Lisbon today, with a light wind." },
        { "role": "user", "content": "Danke! Und wie wird es morgen in der Stadt?" },
    ] });
    assert_eq!(features(Surface::Native, &conversation).language, "de");
}

#[test]
fn the_type_follows_from_words_and_then_from_the_form() {
    for (text, wanted) in [
        ("Hello there", RequestType::Chat),
        ("Please TRANSLATE this to German: fn main() {}", RequestType::Translation),
        ("Übersetze das bitte", RequestType::Translation),
        ("Summarise the report, then extract all names", RequestType::Summary),
        ("Extract the invoice number", RequestType::Extraction),
        ("Why does this fail?\n```\nlet x = 1;\n```", RequestType::Code),
        ("Think step by step: is 97 prime?", RequestType::Reasoning),
    ] {
        assert_eq!(of_text(text).request_type, wanted, "{text}");
    }
    let long = |instruction: &str| format!("{} {instruction}", "lorem ipsum ".repeat(1000));
    assert_eq!(of_text(&long("Now summarize it.")).request_type, RequestType::Summary);
    let form = json!({ "model": "m", "messages": [{ "role": "user", "content": "Ada, 36, London" }],
                       "response_format": { "type": "json_object" } });
    let seen = features(Surface::OpenAi, &form);
    assert_eq!((seen.request_type, seen.structured_output, seen.tools), (RequestType::Extraction, true, false));
}

/// The points are those of docs/routing.md.
#[test]
fn complexity_is_the_sum_of_its_points() {
    assert_eq!(of_text("Hello there").complexity, 0);
    // 20 for code, and 10 for the length.
    assert_eq!(of_text(&format!("Debug this: {}", "x ".repeat(400))).complexity, 30);
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let body = json!({ "model": "m", "tools": [tool], "reasoning_effort": "high", "stream": true, "messages": [
        { "role": "user", "content": "Hi" },
        { "role": "assistant", "content": "Hi" },
        { "role": "user", "content": "Prove that there are infinitely many primes." },
    ] });
    let seen = features(Surface::OpenAi, &body);
    // 30 for reasoning, 10 each for tools, the effort, and the length with what tools add to the prompt, 1 for an answer before.
    assert_eq!((seen.complexity, seen.tools, seen.streaming, seen.hour), (61, true, true, 23));
}

/// Each row of the table in docs/routing.md.
#[test]
fn each_point_of_complexity_counts() {
    let nothing = ChatSummary::default;
    let points = |summary: ChatSummary<'_>, of_type, tokens, images| summary.complexity(of_type, tokens, images);
    for (tokens, wanted) in
        [(99, 0), (100, 10), (499, 10), (500, 20), (1_999, 20), (2_000, 30), (7_999, 30), (8_000, 40), (u64::MAX, 40)]
    {
        assert_eq!(points(nothing(), RequestType::Chat, tokens, 0), wanted, "{tokens}");
    }
    for (of_type, wanted) in [
        (RequestType::Extraction, 5),
        (RequestType::Translation, 5),
        (RequestType::Summary, 5),
        (RequestType::Code, 20),
        (RequestType::Reasoning, 30),
    ] {
        assert_eq!(points(nothing(), of_type, 0, 0), wanted, "{of_type}");
    }
    assert_eq!(points(nothing(), RequestType::Chat, 0, 3), 5);
    for (summary, wanted) in [
        (ChatSummary { has_tools: true, ..nothing() }, 10),
        (ChatSummary { has_structured_output: true, ..nothing() }, 5),
        (ChatSummary { wants_reasoning: true, ..nothing() }, 10),
        (ChatSummary { answers: 7, ..nothing() }, 7),
        (ChatSummary { answers: 70, ..nothing() }, 10),
    ] {
        assert_eq!(points(summary, RequestType::Chat, 0, 0), wanted);
    }
    let all =
        ChatSummary { answers: 10, has_tools: true, has_structured_output: true, wants_reasoning: true, text: "" };
    assert_eq!(points(all, RequestType::Reasoning, 8_000, 1), 100);
}

/// Without a word, the form decides: what the client wants to be reasoned about first.
#[test]
fn a_request_for_reasoning_is_reasoning() {
    let wants =
        ChatSummary { wants_reasoning: true, has_structured_output: true, text: "Hello", ..ChatSummary::default() };
    assert_eq!(wants.request_type(), RequestType::Reasoning);
}

/// Every dialect's form of the same request has the same features.
#[test]
fn the_surface_makes_no_difference() {
    let messages =
        json!([{ "role": "user", "content": "Bitte schreibe eine Zusammenfassung in drei Sätzen: Es war einmal." }]);
    let native = features(Surface::Native, &json!({ "model": "m", "messages": messages }));
    let openai = features(Surface::OpenAi, &json!({ "model": "m", "messages": messages }));
    let anthropic = features(Surface::Anthropic, &json!({ "model": "m", "max_tokens": 9, "messages": messages }));
    for other in [openai, anthropic] {
        assert_eq!((&other.language, other.request_type), (&native.language, native.request_type));
    }
    assert_eq!((native.language.as_str(), native.request_type), ("de", RequestType::Summary));
}

#[test]
fn of_a_long_body_only_the_counts_are_known() {
    let seen = of_text(&"Please translate this. ".repeat(20_000));
    assert_eq!((seen.language.as_str(), seen.request_type, seen.complexity), ("und", RequestType::Chat, 40));
}
