//! Forgeries of hedges: whether there was one, when it was made, and which of the two calls was cancelled.

use super::Forgery;

macro_rules! forged {
    ($name:literal, $change:literal, $event:literal, $id:literal, $what:literal) => {
        Forgery {
            name: $name,
            of: "hedged",
            statement: concat!(
                "UPDATE events SET payload = ",
                $change,
                " WHERE event_type = '",
                $event,
                "' AND aggregate_id = '",
                $id,
                "'"
            ),
            part: "route",
            what: $what,
        }
    };
}

pub const HEDGES: &[Forgery] = &[
    forged!(
        "the model had no hedges",
        "json_remove(payload, '$.hedge_after_ms')",
        "model.created",
        ":hedging-model",
        "hedge_after_ms"
    ),
    forged!(
        "the admission allowed no hedge",
        "json_remove(payload, '$.hedge_after_ms')",
        "inference.admitted",
        ":hedged",
        "hedge"
    ),
    forged!("the hedge had lost", "json_set(payload, '$.hedge', 'lost')", "inference.completed", ":hedged", "attempt"),
    forged!("there was no hedge", "json_remove(payload, '$.hedge')", "inference.completed", ":hedged", "attempt"),
    forged!("there was one call", "json_set(payload, '$.attempts', 1)", "inference.completed", ":hedged", "attempts"),
    forged!(
        "the first call had no time",
        "json_set(payload, '$.latency_ms', 99)",
        "inference.attempt_failed",
        ":hedged",
        "latency_ms"
    ),
    forged!(
        "the hedge went to the target of the first call",
        "json_set(payload, '$.backend.model', 'slow-700')",
        "inference.completed",
        ":hedged",
        "backend"
    ),
    forged!(
        "the first call went to the target of the hedge",
        "json_set(payload, '$.backend.model', 'ok')",
        "inference.attempt_failed",
        ":hedged",
        "backend"
    ),
];
