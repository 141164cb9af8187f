//! The result of a request, as a table and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::printable_text::printable_text;
use super::super::table::aligned;
use super::failed_calls;
use super::trial::Trial;

/// Classes of tokens that are called otherwise here than in the API, where they are told from the rest of their side.
const PLAIN_NAMES: [(&str, &str); 2] = [("input_uncached", "input"), ("output_text", "output")];
/// Counts of usage that are no tokens.
const OTHER_COUNTS: [&str; 1] = ["searches"];

pub fn table(trial: &Trial) -> String {
    let answer = &trial.completed;
    let text = |value: &Value| printable_text(value.as_str().unwrap_or("unknown"));
    let mut rows = vec![
        ("model", text(&answer["model"])),
        ("served by", format!("{}/{}", text(&answer["backend"]["provider"]), text(&answer["backend"]["model"]))),
    ];
    for (at, call) in trial.failed.iter().flatten().enumerate() {
        rows.push((if at == 0 { "failed before" } else { "" }, failed_calls::in_words(call)));
    }
    let counts = counts(&answer["usage"]);
    let digits = counts.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or(0);
    for (at, (name, count)) in counts.iter().enumerate() {
        rows.push((if at == 0 { "tokens" } else { "" }, format!("{count:>digits$} {name}")));
    }
    if let Some(source) = answer["usage"]["source"].as_str().filter(|source| *source != "provider") {
        rows.push(("", format!("({source}: the provider reported none)")));
    }
    rows.push(("cost", format!("{} USD", without_zeros(&text(&answer["cost_usd"])))));
    rows.push(("time", times(trial)));
    if let Some(reason) = answer["finish_reason"].as_str().filter(|reason| *reason != "stop") {
        rows.push(("ended by", printable_text(reason)));
    }
    rows.push(("request", text(&answer["request_id"])));
    // The table leaves out columns that only its first row has: there is no head here.
    aligned(rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect())
}

pub fn json(trial: &Trial) -> Value {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut shown = trial.completed.clone();
    shown["output"] = json!([{ "type": "text", "text": trial.text }]);
    shown["time_to_first_token_ms"] = trial.to_first_token.map(millis).into();
    if let Some(failed) = &trial.failed {
        shown["attempts_failed"] = failed.clone().into();
    }
    shown["time_ms"] = millis(trial.whole).into();
    shown
}

/// The counts that are not zero, by name.
fn counts(usage: &Value) -> Vec<(String, u64)> {
    let members = usage.as_object().into_iter().flatten();
    let counted = members.filter_map(|(name, count)| {
        let class = name.strip_suffix("_tokens").or_else(|| OTHER_COUNTS.contains(&name.as_str()).then_some(name))?;
        let count = count.as_u64().filter(|count| *count > 0)?;
        let plain = PLAIN_NAMES.iter().find(|(known, _)| *known == class).map_or(class, |(_, plain)| plain);
        Some((plain.replace('_', " "), count))
    });
    let mut counts: Vec<_> = counted.collect();
    // What went in comes before what came out, and the plain class before the others of its side.
    counts.sort_by_key(|(name, _)| (name.contains("output"), PLAIN_NAMES.iter().all(|(_, plain)| plain != name)));
    counts
}

fn times(trial: &Trial) -> String {
    let whole = format!("{} in all", seconds(trial.whole));
    trial.to_first_token.map_or(whole.clone(), |first| format!("{} to the first token, {whole}", seconds(first)))
}

/// `12 ms`, `1.25 s`.
fn seconds(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..=999 => format!("{millis} ms"),
        millis => format!("{}.{:02} s", millis / 1000, millis % 1000 / 10),
    }
}

/// An amount without the zeros at its end.
pub fn without_zeros(amount: &str) -> String {
    match amount.contains('.') {
        true => amount.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => amount.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_used_is_shown_and_nothing_moves_the_cursor() {
        let completed = json!({
            "request_id": "req_1", "model": "gpt", "backend": { "provider": "openai", "model": "gpt-4o" },
            "finish_reason": "length", "cost_usd": "0.001200000",
            "usage": {
                "output_text_tokens": 9, "output_reasoning_tokens": 64, "input_uncached_tokens": 120,
                "input_cache_read_tokens": 0, "input_cache_write_by_ttl": { "5m": 3 }, "searches": 2, "source": "counted",
            },
        });
        let to_first_token = Some(Duration::from_millis(412));
        let whole = Duration::from_millis(1_259);
        let failed = vec![
            json!({ "backend": { "provider": "own", "model": "m" }, "reason": "status", "status": 401 }),
            json!({ "backend": { "provider": "own", "model": "m" }, "reason": "timeout" }),
        ];
        let trial = Trial { text: "hi".to_owned(), completed, to_first_token, whole, failed: Some(failed.clone()) };
        let wanted = "model      gpt\n\
                      served by  openai/gpt-4o\n\
                      failed before  own/m (status 401)\n           \
                      own/m (timeout)\n\
                      tokens     120 input\n           \
                      2 searches\n            \
                      9 output\n           \
                      64 output reasoning\n           \
                      (counted: the provider reported none)\n\
                      cost       0.0012 USD\n\
                      time       412 ms to the first token, 1.25 s in all\n\
                      ended by   length\n\
                      request    req_1";
        let squeezed = |text: &str| {
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&table(&trial)), squeezed(wanted));
        let shown = json(&trial);
        assert_eq!((&shown["time_ms"], &shown["time_to_first_token_ms"]), (&1_259.into(), &412.into()));
        assert_eq!((&shown["output"][0]["text"], &shown["attempts_failed"]), (&json!("hi"), &json!(failed)));
        assert_eq!((without_zeros("10"), without_zeros("0.100000000")), ("10".to_owned(), "0.1".to_owned()));
    }
}
