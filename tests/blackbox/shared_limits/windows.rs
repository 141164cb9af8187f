//! Sliding windows by the admissions of the log: their order, and the times at which they were recorded.

use std::collections::HashMap;
use std::time::Duration;

use chrono::DateTime;
use serde_json::Value;

use crate::gateway::type_of;

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    Requests,
    /// What requests have used in the end, from when they were admitted.
    Tokens,
}

/// The most that any window has held, and the number of admissions.
pub fn fullest_window(log: &[Value], measured: Measured, span: Duration) -> (u64, usize) {
    let admissions = admissions(log, measured);
    let span = i64::try_from(span.as_micros()).expect("short");
    let (mut first, mut held, mut fullest) = (0, 0, 0);
    for (at, amount) in &admissions {
        held += amount;
        while admissions[first].0 <= at - span {
            held -= admissions[first].1;
            first += 1;
        }
        fullest = fullest.max(held);
    }
    (fullest, admissions.len())
}

/// When each request was admitted, and how much it counts.
fn admissions(log: &[Value], measured: Measured) -> Vec<(i64, u64)> {
    let used = used_tokens(log);
    let admitted = log.iter().filter(|event| type_of(event) == "inference.admitted.v1");
    let amount = |event: &Value| match measured {
        Measured::Requests => 1,
        Measured::Tokens => used.get(id_of(event)).copied().unwrap_or(0),
    };
    admitted.map(|event| (micros(event), amount(event))).collect()
}

fn used_tokens(log: &[Value]) -> HashMap<&str, u64> {
    let completed = log.iter().filter(|event| type_of(event) == "inference.completed.v1");
    let tokens = |event: &Value| -> u64 {
        let usage = event["data"]["usage"].as_object().expect("its usage");
        let of_class = usage.iter().filter(|(class, _)| class.ends_with("_tokens"));
        of_class.filter_map(|(_, tokens)| tokens.as_u64()).sum()
    };
    completed.map(|event| (id_of(event), tokens(event))).collect()
}

fn id_of(event: &Value) -> &str {
    event["request_id"].as_str().expect("a request")
}

fn micros(event: &Value) -> i64 {
    let at = event["recorded_at"].as_str().expect("a time");
    DateTime::parse_from_rfc3339(at).expect("a time").timestamp_micros()
}
