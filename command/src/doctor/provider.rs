//! The checks of one provider, in the order in which one depends on the other: address, name, connection, certificate, answer,
//! clock, and each of its keys.

use std::sync::Arc;

use dialects::ProviderKind;
use dialects::provider_dialects;
use events::event::admin::Provider;
use tokio::time::{Instant, timeout_at};

use super::connection::of_probe;
use super::key::{name_among_several, not_for_the_address, of_credentials, of_set_aside};
use super::report::{Check, Finding};
use super::trial::{KeyFindings, Trials};
use crate::credential_like::{is_credential_name, is_credential_value};
use crate::inference::{Credentials, CredentialsError, Gateway, OpenedKey};

const OUT_OF_TIME: &str = "not checked for lack of time: the whole check takes a minute at most";

/// Returns the findings on the provider before the deadline. They name the checks for which there was no time.
pub async fn check(gateway: &Gateway, provider: &Arc<Provider>, until: Instant) -> Vec<Finding> {
    let Some(kind) = ProviderKind::named(&provider.kind) else {
        let detail = format!("this version does not know the kind {}", provider.kind);
        return vec![Finding::problem(Check::Address, detail, "upgrade the gateway, or end the provider")];
    };
    let Some(endpoint) = provider_dialects::of(kind).endpoint() else {
        return vec![Finding::ok(Check::Connection, "runs inside the gateway: there is nothing to connect to")];
    };
    let Ok(probe) = timeout_at(until, gateway.providers.clients.probe(provider)).await else {
        return vec![out_of_time()];
    };
    let mut findings = of_probe(&probe);
    findings.extend(of_headers(provider));
    if probe.fault.is_some() {
        return findings;
    }
    let keys = match timeout_at(until, Credentials::of_every_key(gateway, provider)).await {
        Ok(Ok(keys)) => keys,
        Ok(Err(error)) => return with(findings, of_credentials(&error)),
        Err(_) => return with(findings, Finding::not_checked(Check::Key, OUT_OF_TIME)),
    };
    if keys.is_empty() {
        findings.push(of_credentials(&CredentialsError::NoKey));
    }
    let mut trials = Trials::new(gateway, kind, endpoint);
    for (at, key) in keys.into_iter().enumerate() {
        let (general, of_key) = of_one_key(&mut trials, provider, key, until).await;
        // What does not depend on the key is said once.
        findings.extend(general.into_iter().filter(|_| at == 0));
        findings.extend(of_key);
    }
    findings.extend(not_for_the_address(&gateway.tables.load(), provider));
    findings
}

/// The headers of a provider of before that look like credentials: those that are set now are refused.
fn of_headers(provider: &Provider) -> Vec<Finding> {
    let found =
        provider.headers.iter().filter(|(name, value)| is_credential_name(name) || is_credential_value(name, value));
    let finding = |name: &String| {
        let detail = format!("the header {name} looks like a credential, and events contain the values of headers");
        Finding::warning(
            Check::Key,
            detail,
            "send a new one in secret_headers, and withdraw this one where it was made",
        )
    };
    found.map(|(name, _)| finding(name)).collect()
}

/// Nothing was checked of the provider.
pub fn out_of_time() -> Finding {
    Finding::not_checked(Check::Connection, OUT_OF_TIME)
}

fn with(mut findings: Vec<Finding>, last: Finding) -> Vec<Finding> {
    findings.push(last);
    findings
}

/// Tries one of the provider's keys, and returns the findings, and whether requests use the key. The check does not
/// change whether they do.
async fn of_one_key(
    trials: &mut Trials<'_>,
    provider: &Arc<Provider>,
    key: OpenedKey,
    until: Instant,
) -> (Vec<Finding>, Option<Finding>) {
    let gateway = trials.gateway;
    let OpenedKey { row, credentials } = key;
    let KeyFindings { general, key: found } = match credentials {
        Ok(credentials) => match timeout_at(until, trials.of(credentials)).await {
            Ok(found) => found,
            Err(_) => KeyFindings::of_key(Finding::not_checked(Check::Key, OUT_OF_TIME)),
        },
        Err(error) => KeyFindings::of_key(of_credentials(&error)),
    };
    let tables = gateway.tables.load();
    let Some(name) = name_among_several(&tables, provider, row.key) else { return (general, found) };
    let found = found.unwrap_or_else(|| Finding::not_checked(Check::Key, "the provider gave no answer about it"));
    let found = match tables.set_aside(row.key, row.generation) {
        Some(set_aside) => {
            of_set_aside(provider, row.key, set_aside, gateway.providers.keys.tried_again_at(&row), found)
        }
        None => found,
    };
    (general, Some(found.about(&name)))
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;

    use super::*;

    #[test]
    fn a_header_of_before_that_looks_like_a_credential_is_a_warning_without_its_value() {
        let id = format!("prv_{:032x}", 1).parse().expect("an id");
        let headers = [("x-functions-key", "4b1f"), ("x-team", "sk-proj-1"), ("openai-organization", "org-1")];
        let provider = Provider {
            headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..Provider::new(id, "p", ProviderKindName::literal("openai"))
        };
        let found = of_headers(&provider);
        assert!(found.len() == 2 && found.iter().all(|finding| finding.is_of(Check::Key)), "{found:?}");
        let said = format!("{found:?}");
        assert!(said.contains("x-functions-key") && said.contains("x-team"), "{said}");
        assert!(!said.contains("4b1f") && !said.contains("sk-proj-1"), "{said}");
    }
}
