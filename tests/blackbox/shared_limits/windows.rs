//! Sliding windows by the admissions of the log: their order, and the times at which they were recorded.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::gateway::type_of;

/// A node corrects the tokens of a request that has ended a little before it records the end. Longer than that takes.
const CORRECTED_BEFORE: Duration = Duration::from_millis(250);

/// The unit that a window counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    Requests,
    /// Tokens that requests have reserved while they run, and those that they have used then, from when they were
    /// admitted.
    Tokens,
}

/// A request counts as this much from then on.
struct Change<'a> {
    at: i64,
    request: &'a str,
    amount: u64,
    is_admission: bool,
}

/// The most that any window has held, and the number of admissions.
pub fn fullest_window(log: &[Value], measured: Measured, span: Duration) -> (u64, usize) {
    let span = micros_of(span);
    let mut window: VecDeque<(i64, &str)> = VecDeque::new();
    let mut amounts: HashMap<&str, u64> = HashMap::new();
    let (mut held, mut fullest, mut admissions) = (0, 0, 0);
    for Change { at, request, amount, is_admission } in changes(log, measured) {
        while let Some((_, leaves)) = window.front().filter(|(admitted_at, _)| *admitted_at <= at - span) {
            held -= amounts.remove(leaves).expect("its amount");
            window.pop_front();
        }
        if is_admission {
            window.push_back((at, request));
            (held, admissions) = (held + amount, admissions + 1);
            amounts.insert(request, amount);
        } else if let Some(was) = amounts.get_mut(request) {
            held = held - *was + amount;
            *was = amount;
        }
        fullest = fullest.max(held);
    }
    (fullest, admissions)
}

/// Returns the changes by time.
fn changes(log: &[Value], measured: Measured) -> Vec<Change<'_>> {
    let mut changes: Vec<Change<'_>> = Vec::new();
    let mut admitted_at: HashMap<&str, i64> = HashMap::new();
    for event in log {
        let (at, is_admission) = (micros(event), type_of(event) == "inference.admitted.v1");
        if is_admission {
            let request = id_of(event);
            let amount = if measured == Measured::Tokens { reserved(event) } else { 1 };
            changes.push(Change { at, request, amount, is_admission });
            admitted_at.insert(request, at);
        } else if let Some(amount) = used(event).filter(|_| measured == Measured::Tokens) {
            let request = id_of(event);
            let at = (at - micros_of(CORRECTED_BEFORE)).max(admitted_at[request]);
            changes.push(Change { at, request, amount, is_admission });
        }
    }
    // It is stable: of one time, an admission comes before its end.
    changes.sort_by_key(|change| change.at);
    changes
}

/// The most tokens that an admission has reserved.
pub fn largest_reservation(log: &[Value]) -> u64 {
    log.iter().filter(|event| type_of(event) == "inference.admitted.v1").map(reserved).max().unwrap_or(0)
}

/// The tokens of all requests that have ended.
pub fn used_tokens(log: &[Value]) -> u64 {
    log.iter().filter_map(used).sum()
}

fn reserved(admitted: &Value) -> u64 {
    admitted["data"]["rate_limited_tokens"].as_u64().expect("a limit of tokens binds it")
}

/// `None` for an event that ends no request.
fn used(event: &Value) -> Option<u64> {
    if !["inference.completed.v1", "inference.failed.v1", "inference.aborted.v1"].contains(&type_of(event)) {
        return None;
    }
    let Some(usage) = event["data"]["usage"].as_object() else { return Some(0) };
    let of_class = usage.iter().filter(|(class, _)| class.ends_with("_tokens"));
    Some(of_class.filter_map(|(_, tokens)| tokens.as_u64()).sum())
}

fn id_of(event: &Value) -> &str {
    event["request_id"].as_str().expect("a request")
}

fn micros(event: &Value) -> i64 {
    instant(&event["recorded_at"]).timestamp_micros()
}

fn micros_of(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).expect("short")
}

pub fn instant(at: &Value) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(at.as_str().expect("a time")).expect("a time").to_utc()
}
