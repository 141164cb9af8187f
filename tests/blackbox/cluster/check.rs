//! Comparison of the answers to clients with the log.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::books::{Books, nano};
use crate::cluster::load::{Outcome, Record, Told};
use crate::gateway::type_of;

/// A node that could not record the end of a request keeps it in memory, where it is lost if the node is killed then.
const KEPT_MAX: Duration = Duration::from_secs(15);

/// Folds the log, which must refuse a request only where charges, holds and the request together are above the limit, or the holds of its
/// key and the request above the share that a key may hold.
pub fn refusals_must_be_right(log: &[Value]) -> Books {
    let mut books = Books::default();
    // The open holds, each with its key. Each key is of one tenant, which has one budget.
    let mut held_by_key: HashMap<String, (Value, i64)> = HashMap::new();
    for event in log {
        let data = &event["data"];
        if type_of(event) == "inference.refused.v1" && data["code"] == "BUDGET_EXCEEDED" {
            assert_eq!(data["count"], 1, "the load is too heavy for this test: {event}");
            let budget = data["budget_id"].as_str().expect("a budget");
            let (balance, limit) = (books.balance(budget), books.limit(budget).expect("a limit"));
            let (left, of) = match &data["share"] {
                Value::Null => (limit - balance.settled - balance.held, "the budget"),
                share => {
                    let held = held_by_key.values().filter(|(key, _)| *key == event["key_id"]).map(|(_, held)| held);
                    assert_eq!((&share["of"], &share["fraction"]), (&json!("key"), &json!("0.5")), "{event}");
                    assert_eq!(nano(&share["held_usd"]), held.clone().sum::<i64>(), "{event}");
                    ((limit - balance.settled) / 2 - held.sum::<i64>(), "the share")
                }
            };
            let wanted = nano(&data["requested_usd"]);
            assert!(wanted > left, "{wanted} of the {left} nano-dollars of {of} would fit: {event}");
        }
        match type_of(event) {
            "budget.reserved.v1" => {
                let hold = (event["key_id"].clone(), nano(&data["held_usd"]));
                held_by_key.insert(event["request_id"].to_string(), hold);
            }
            "budget.settled.v1" | "budget.released.v1" | "budget.expired.v1" => {
                held_by_key.remove(&event["request_id"].to_string());
            }
            _ => {}
        }
        books.take(event);
    }
    books.check_the_end();
    books
}

/// Everything that clients were told is in the log, at the position that they were told; how many were answered and how
/// many refused.
pub fn must_be_at_their_positions(record: &Record, log: &[Value], books: &Books) -> (usize, usize) {
    let at = |position: u64| &log[usize::try_from(position - 1).expect("a position")];
    let must_be = |request: &str, position: u64, kind: &str| {
        let event = at(position);
        assert_eq!((type_of(event), event["request_id"].as_str()), (kind, Some(request)), "told {position}");
    };
    for told in record.all() {
        match &told.outcome {
            Outcome::Answered(request, position) => {
                must_be(request, *position, "budget.settled.v1");
                must_be(request, position - 1, "inference.completed.v1");
                assert_eq!(books.end_of(request), Some("budget.settled"), "{request} was answered");
            }
            Outcome::Streamed(request, position) => {
                must_be(request, *position, "inference.admitted.v1");
                must_be(request, position + 1, "budget.reserved.v1");
                assert_eq!(books.end_of(request), Some("budget.settled"), "{request} was answered");
            }
            Outcome::Refused(request, position) => {
                assert!(!books.admitted().contains(request), "{request} was refused and admitted");
                if let Some(position) = position {
                    must_be(request, *position, "inference.refused.v1");
                }
            }
            Outcome::Unavailable | Outcome::Lost | Outcome::Wrong(_) => {}
        }
    }
    let answered = record.count(|outcome| matches!(outcome, Outcome::Answered(..) | Outcome::Streamed(..)));
    (answered, record.count(|outcome| matches!(outcome, Outcome::Refused(..))))
}

/// Holds that nobody ended are of requests that a killed node was answering; how many there are.
pub fn lost_holds_must_be_of_killed_nodes(record: &Record, log: &[Value]) -> usize {
    let labels: HashMap<&str, &str> = log
        .iter()
        .filter_map(|event| Some((event["request_id"].as_str()?, event["data"]["metadata"]["label"].as_str()?)))
        .collect();
    let told: HashMap<&str, &Told> = record.all().iter().map(|told| (told.label.as_str(), told)).collect();
    let is_lost = |event: &&Value| type_of(event) == "budget.expired.v1" || event["data"]["reason"] == "node_lost";
    let requests: HashSet<&str> = log.iter().filter(is_lost).filter_map(|event| event["request_id"].as_str()).collect();
    for request in &requests {
        let told = told[labels[request]];
        let was_killed = match &told.outcome {
            Outcome::Lost => true,
            // The answer may have been on its way when the node was killed.
            Outcome::Unavailable => told.kills.any_within(told.asked_at..=told.at + KEPT_MAX),
            _ => false,
        };
        let events: Vec<&Value> = log.iter().filter(|event| event["request_id"] == **request).collect();
        assert!(
            was_killed,
            "the hold of {} was lost by a living node: {:?} after {:?}, with kills after {:?}: {events:#?}",
            told.label,
            told.outcome,
            told.at.duration_since(told.asked_at),
            told.kills.after(told.asked_at)
        );
    }
    requests.len()
}
