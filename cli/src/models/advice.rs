//! Advice about a request that was refused or failed.

use std::path::Path;

use built_in_catalogue::Mode;
use events::event::admin::Permission;
use http::Method;

use super::super::gateway_access::{FOR_ADMINISTRATION, connect};
use super::super::gateway_client::{GatewayClient, GatewayError, Refused, has_permission};
use super::super::printable_text::printable_text;
use super::unknown_model;
use crate::arguments::GatewayArgs;
use crate::settings::Flags;

const EMBEDDINGS: &str = "/v1/embeddings";

const OTHER_KEY: &str =
    "the key is not one of this gateway, or is no longer valid: give another one with --key-file FILE";

/// Advice about a failed request to a model. `None` if the message is enough.
pub async fn of(error: &GatewayError, gateway: &GatewayClient, model: &str, dir: &Path) -> Option<String> {
    match code_of(error) {
        "MODEL_NOT_FOUND" => Some(unknown_model::advice(gateway, model, dir).await),
        // Unless the message says it.
        "INVALID_REQUEST" if is_for_embeddings(model, dir) && !message_of(error).contains(EMBEDDINGS) => {
            Some(format!("{} is a model for embeddings: POST {EMBEDDINGS}", printable_text(model)))
        }
        "FORBIDDEN" | "MODEL_NOT_ALLOWED" => {
            Some("use a key that may use this model, or change the key's `permissions` and `models`".to_owned())
        }
        _ => of_error(error),
    }
}

/// True for failures of providers, whose causes `ledgerway doctor` finds.
pub fn is_of_doctor(error: &GatewayError) -> bool {
    matches!(code_of(error), "UPSTREAM_ERROR" | "UPSTREAM_TIMEOUT" | "ALL_PROVIDERS_UNAVAILABLE")
}

/// The advice to run `ledgerway doctor`; `None` unless it has, with the same arguments, a key that may check providers.
pub async fn of_doctor(args: &GatewayArgs, flags: &Flags) -> Option<String> {
    let gateway = connect(args, flags, &FOR_ADMINISTRATION).ok()?;
    let caller = gateway.request(Method::GET, "/v1/me").await.ok()?;
    let may_check = caller["scope"] == "platform" && has_permission(&caller, Permission::AdminAccess);
    may_check.then(|| "`ledgerway doctor` checks the provider's address and key".to_owned())
}

/// Advice about a refused list of models; its codes are OpenAI's.
pub fn of_list(error: &GatewayError) -> Option<String> {
    let GatewayError::Refused { refused, .. } = error else { return of_error(error) };
    match refused.status {
        401 => Some(OTHER_KEY.to_owned()),
        403 => Some("use a key that has the permission `models:use`".to_owned()),
        429 | 503 => Some("try again in a moment".to_owned()),
        _ => of_code(refused),
    }
}

/// The code of a refusal; empty if the gateway has refused nothing.
fn code_of(error: &GatewayError) -> &str {
    if let GatewayError::Refused { refused, .. } = error { refused.code() } else { "" }
}

fn message_of(error: &GatewayError) -> &str {
    if let GatewayError::Refused { refused, .. } = error { refused.message() } else { "" }
}

fn of_error(error: &GatewayError) -> Option<String> {
    match error {
        GatewayError::Refused { refused, .. } => of_code(refused),
        GatewayError::Unreachable { .. } | GatewayError::TimedOut { .. } => {
            Some("`ledgerway status` shows whether a gateway runs, and its address".to_owned())
        }
        GatewayError::NotPrepared(_) => None,
    }
}

fn of_code(refused: &Refused) -> Option<String> {
    let detail = |name: &str| refused.error["details"][name].as_str();
    Some(match refused.code() {
        "UNAUTHENTICATED" => OTHER_KEY.to_owned(),
        "MODEL_UNPRICED" => "give each target of the model a price: POST /v1/admin/prices".to_owned(),
        "BUDGET_EXCEEDED" => match (detail("budget_id"), detail("resets_at")) {
            (Some(budget), Some(resets_at)) => format!("raise the budget {budget}, or wait until {resets_at}"),
            (Some(budget), None) => format!("raise the budget {budget}"),
            (None, _) => "`ledgerway status` shows the budgets that are near their limit".to_owned(),
        },
        "RATE_LIMITED" => match refused.error["details"]["retry_after"].as_u64() {
            Some(seconds) => format!("try again in {seconds} s"),
            None => "try again in a moment".to_owned(),
        },
        "DRAINING" | "LEDGER_UNAVAILABLE" | "OVERLOADED" => "try again in a moment".to_owned(),
        "" => "is this the address of a gateway?".to_owned(),
        _ => return None,
    })
}

/// True if the catalogue knows the model, and all providers of it serve it for embeddings.
fn is_for_embeddings(model: &str, dir: &Path) -> bool {
    let catalogue = built_in_catalogue::in_force(dir).catalogue;
    let meant = catalogue.meant(model);
    !meant.is_empty() && meant.iter().all(|model| model.mode == Mode::Embedding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_for_embeddings_is_known_by_the_catalogue() {
        for (model, wanted) in [("text-embedding-3-small", true), ("gpt-4o", false), ("no-such-model", false)] {
            assert_eq!(is_for_embeddings(model, Path::new("/nonexistent")), wanted, "{model}");
        }
    }
}
