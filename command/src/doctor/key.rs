//! Findings about a provider's keys before anything is sent.

use chrono::{DateTime, Utc};
use events::event::admin::{Provider, SetAsideReason, UpstreamKey};
use events::time::rfc3339;
use projections::tables::{SetAside, Tables};
use secrets::VaultError;

use super::report::{Check, Finding};
use crate::inference::{CredentialsError, ProviderKeys, remedy};

/// Advice about a refused key that is accepted now.
const ACCEPTED_AGAIN: &str =
    "the request that tries it again puts it in use; to save that wait, set the same api_key again";

/// The name of a key that is one of several; `None` if the provider has no other.
pub fn name_among_several(tables: &Tables, provider: &Provider, key: UpstreamKey) -> Option<String> {
    if !tables.has_provider_keys(provider.provider_id) {
        return None;
    }
    Some(match key.provider_key_id().and_then(|id| tables.provider_key(id)) {
        Some(further) => format!("provider key {}", further.value.name),
        None => "the provider's own key".to_owned(),
    })
}

/// The finding about a key that is set aside: why, until when, and what was found of it `now`. `tried_again_at` is `None` if the
/// next request tries it.
pub fn of_set_aside(
    provider: &Provider,
    key: UpstreamKey,
    set_aside: &SetAside,
    tried_again_at: Option<DateTime<Utc>>,
    now: Finding,
) -> Finding {
    let (why, advice) = match set_aside.reason {
        SetAsideReason::Refused if now.is_ok() => ("refused it", ACCEPTED_AGAIN.to_owned()),
        SetAsideReason::Refused => ("refused it", remedy::of_refused(provider, key)),
        // The list of models is answered without money.
        SetAsideReason::OutOfMoney => ("said that its account has no money left", remedy::OF_EMPTY_ACCOUNT.to_owned()),
    };
    let until = match tried_again_at {
        Some(at) => format!("a request tries it again after {}", rfc3339(at)),
        None => "the next request tries it again".to_owned(),
    };
    let (since, status) = (rfc3339(set_aside.since), set_aside.status);
    let detail = format!("set aside since {since}: the provider {why} (status {status}); {until}");
    now.after(Finding::warning(Check::Key, detail, advice))
}

/// The keys that are not sent, because the provider's address is no longer the one that they were given for.
pub fn not_for_the_address(tables: &Tables, provider: &Provider) -> Vec<Finding> {
    let sent = ProviderKeys::rows(tables, provider, false);
    let is_sent = |id| sent.iter().any(|row| row.key == UpstreamKey::Further(id));
    let others = tables.provider_keys_of(provider.provider_id).filter(|key| !is_sent(key.provider_key_id));
    let found = others.map(|key| {
        let id = key.provider_key_id;
        let advice = format!("set its api_key again for the new address: PATCH /v1/admin/provider-keys/{id}");
        let detail = "it is not sent: it was given for another scheme, host or port";
        Finding::warning(Check::Key, detail, advice).about(&format!("provider key {}", key.name))
    });
    found.collect()
}

/// The messages of these errors name providers, scopes, tenants and variables, and no secret.
pub fn of_credentials(error: &CredentialsError) -> Finding {
    let advice = match error {
        CredentialsError::Withdrawn => return Finding::not_checked(Check::Key, "the provider has just been changed"),
        CredentialsError::KeysAtLimit(_) | CredentialsError::Vault(VaultError::NotServed { .. }) => {
            return Finding::not_checked(Check::Key, error.to_string());
        }
        // A new key would not be opened either.
        CredentialsError::Vault(VaultError::NotGranted { .. } | VaultError::OtherNodeKey { .. }) => {
            return Finding::problem_with_its_advice(Check::Key, error.to_string());
        }
        CredentialsError::NoKey => "give the provider a new key, or one of its provider keys: PATCH api_key",
        CredentialsError::Vault(VaultError::NotInEnvironment { .. }) => {
            "set the variable for the gateway's process, or give the provider a key of its own"
        }
        CredentialsError::Vault(VaultError::Log(_)) => "look at the gateway's log",
        CredentialsError::Vault(
            VaultError::Unopenable { .. }
            | VaultError::GivenUp { .. }
            | VaultError::DataKeyMissing { .. }
            | VaultError::OtherGeneration { .. }
            | VaultError::Unsealable { .. },
        ) => "give the provider a new key, or its secret_headers again",
    };
    Finding::problem(Check::Key, error.to_string(), advice)
}

#[cfg(test)]
mod tests {
    use events::ids::TenantId;

    use super::*;

    #[test]
    fn a_new_key_is_advised_only_where_it_would_be_opened() {
        let (subject, scope) = ("provider a".to_owned(), "tenant".to_owned());
        let tenant: TenantId = "ten_00000000000000000000000000000007".parse().expect("an id");
        for (error, is_problem, advises_key) in [
            (VaultError::GivenUp { subject: subject.clone() }, true, true),
            (VaultError::Unopenable { subject }, true, true),
            (VaultError::OtherNodeKey { scope }, true, false),
            (VaultError::NotGranted { tenant }, true, false),
            (VaultError::NotServed { tenant }, false, false),
        ] {
            let said = error.to_string();
            let finding = of_credentials(&CredentialsError::Vault(error));
            let json = serde_json::to_value(&finding).expect("JSON");
            assert_eq!((finding.is_problem(), json["advice"].is_string()), (is_problem, advises_key), "{json}");
            assert!(json["detail"].as_str().is_some_and(|detail| detail.contains(&said)), "{json}");
        }
    }
}
