//! Why a request was refused, in words, from what its event has. The message that its client got is not recorded.

use serde_json::Value;

use super::in_words::alias_in_words;
use crate::event::inference::{BudgetShortfall, InferenceRefused};
use crate::refusal::ErrorCode;

/// The refusal in words: which model was asked for, and why no target was called. Of the targets, it says nothing that the client was not told.
pub fn refusal_in_words(refused: &InferenceRefused) -> String {
    let stands_for = refused.scoped_by.as_ref().and_then(|scoped_by| scoped_by.stands_for.as_deref());
    let refusal =
        format!("The request for {} was refused before any target was called: {}.", refused.model, why(refused));
    match stands_for {
        Some(model) => format!("{} {refusal}", alias_in_words(&refused.model, model)),
        None => refusal,
    }
}

fn why(refused: &InferenceRefused) -> String {
    let text = |name: &str| refused.details.get(name).and_then(Value::as_str);
    match refused.code {
        ErrorCode::BudgetExceeded => short_budget(refused),
        ErrorCode::TermsNotMet => unmet_term(refused),
        ErrorCode::ModelNotAllowed => "the allow list of its key, or that of its tenant, does not name the model".to_owned(),
        ErrorCode::ModelNotFound => missing_model(refused),
        ErrorCode::ModelUnpriced => match (text("field"), text("reason")) {
            (Some(field), Some(reason)) => format!("its field {field} {reason}"),
            _ => "no target that it may use had a live provider, a price in force and, if the request has documents, a known context window".to_owned(),
        },
        ErrorCode::AllProvidersUnavailable => match text("maintenance_until") {
            Some(until) => format!("every target that could serve it was under maintenance until {until}"),
            None => "only a later version of the gateway could call the providers of its targets".to_owned(),
        },
        ErrorCode::IdempotencyKeyReused => "its Idempotency-Key had been used before".to_owned(),
        // A code alone: the others have no details that decide about targets.
        other => format!("its error code is {}", other.as_str()),
    }
}

fn short_budget(refused: &InferenceRefused) -> String {
    match serde_json::from_value::<BudgetShortfall>(Value::Object(refused.details.clone())) {
        Ok(shortfall) => shortfall.to_string(),
        Err(_) => "a budget had too little left for what the request could cost".to_owned(),
    }
}

fn unmet_term(refused: &InferenceRefused) -> String {
    let detail = |name: &str| refused.details.get(name);
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let required = (|| Some((detail("required_by")?, detail("term")?, detail("required")?)))();
    match required {
        Some((by, term, value)) => format!(
            "the {} required {} {}, and no target that could serve it was stated to meet this and the other requirements",
            shown(by),
            shown(term),
            shown(value)
        ),
        None => "no target that could serve it was stated to meet the terms that were required".to_owned(),
    }
}

fn missing_model(refused: &InferenceRefused) -> String {
    let text = |name: &str| refused.details.get(name).and_then(Value::as_str);
    let model = text("stands_for").map_or_else(|| "it".to_owned(), |model| format!("{model}, which it stands for,"));
    match (text("retired_at"), text("successor"), text("stands_for")) {
        (Some(at), Some(successor), _) => format!("{model} was retired at {at}, and its successor is {successor}"),
        (Some(at), None, _) => format!("{model} was retired at {at}"),
        (None, _, Some(model)) => format!("it stands for {model}, and there was no model with targets of that name"),
        (None, _, None) => "there was no model of that name that its key could see".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(code: ErrorCode, details: &Value) -> String {
        let details = details.as_object().cloned().unwrap_or_default();
        let refused = InferenceRefused { code, model: "m".to_owned(), count: 1, scoped_by: None, details };
        let told = refusal_in_words(&refused);
        let why = told.strip_prefix("The request for m was refused before any target was called: ");
        why.and_then(|why| why.strip_suffix('.')).unwrap_or_else(|| panic!("{told}")).to_owned()
    }

    #[test]
    fn each_refusal_says_what_its_event_has() {
        for (code, details, expected) in [
            (
                ErrorCode::TermsNotMet,
                json!({ "term": "residency", "required": "eu", "required_by": "tenant" }),
                "the tenant required residency eu, and no target that could serve it was stated to meet this and the other requirements",
            ),
            (
                ErrorCode::TermsNotMet,
                json!({ "term": "zero_retention", "required": true, "required_by": "request" }),
                "the request required zero_retention true, and no target that could serve it was stated to meet this and the other requirements",
            ),
            (
                ErrorCode::ModelNotFound,
                json!({ "retired_at": "2026-01-01T00:00:00Z", "successor": "n" }),
                "it was retired at 2026-01-01T00:00:00Z, and its successor is n",
            ),
            (
                ErrorCode::ModelNotFound,
                json!({ "retired_at": "2026-01-01T00:00:00Z", "stands_for": "n" }),
                "n, which it stands for, was retired at 2026-01-01T00:00:00Z",
            ),
            (
                ErrorCode::ModelNotFound,
                json!({ "stands_for": "n" }),
                "it stands for n, and there was no model with targets of that name",
            ),
            (
                ErrorCode::ModelUnpriced,
                json!({ "field": "models", "reason": "may choose another model or another price, so its cost cannot be bounded" }),
                "its field models may choose another model or another price, so its cost cannot be bounded",
            ),
            (
                ErrorCode::AllProvidersUnavailable,
                json!({ "maintenance_until": "2026-01-01T00:00:00Z" }),
                "every target that could serve it was under maintenance until 2026-01-01T00:00:00Z",
            ),
            (
                ErrorCode::BudgetExceeded,
                json!({ "budget_id": 7 }),
                "a budget had too little left for what the request could cost",
            ),
            (ErrorCode::LimitsUnavailable, json!({}), "its error code is LIMITS_UNAVAILABLE"),
        ] {
            assert_eq!(told(code, &details), expected);
        }
    }
}
