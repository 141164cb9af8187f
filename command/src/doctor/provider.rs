//! The checks of one provider, in the order in which one depends on the other: address, name, connection, certificate, answer,
//! clock, key.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::upstreams::{self, Endpoint, FreeRequest, Invocation, free_request_of};
use dialects::{ProviderKind, REFUSAL_BYTES_MAX, UpstreamRefusalKind, may_be_secret, read_refusal};
use events::event::admin::{Provider, SetAsideReason, UpstreamKey};
use events::time::rfc3339;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use projections::tables::{SetAside, Tables};
use secrets::VaultError;
use tokio::time::{Instant, timeout};
use upstream::{RequestBody, SendError};

use super::clock::of_clock;
use super::connection::of_probe;
use super::message::message_of;
use super::report::{Check, Finding};
use crate::inference::{
    Credentials, CredentialsError, Gateway, KeyAttempts, KeyFailure, NextKey, ProviderKeys, exchanged, remedy,
};
use crate::service_account::is_json;

/// How long a provider has for one response.
const RESPONSE_MAX: Duration = Duration::from_secs(8);

pub async fn check(gateway: &Gateway, provider: &Arc<Provider>) -> Vec<Finding> {
    let Some(kind) = ProviderKind::named(&provider.kind) else {
        let detail = format!("this version does not know the kind {}", provider.kind);
        return vec![Finding::problem(Check::Address, detail, "upgrade the gateway, or end the provider")];
    };
    let Some(endpoint) = upstreams::of(kind).endpoint() else {
        return vec![Finding::ok(Check::Connection, "runs inside the gateway: there is nothing to connect to")];
    };
    let probe = gateway.upstreams.probe(provider).await;
    let mut findings = of_probe(&probe);
    if probe.fault.is_some() {
        return findings;
    }
    let mut attempts = KeyAttempts::default();
    let mut is_first = true;
    loop {
        let found = match credentials(gateway, endpoint, provider, &mut attempts).await {
            Ok(credentials) => Trial { gateway, kind, endpoint, credentials }.run().await,
            Err(finding) => vec![finding],
        };
        let key = attempts.key().map(|key| key_in_words(&gateway.tables.load(), key));
        let named = found.into_iter().map(|finding| match &key {
            Some(key) if finding.is_of(Check::Key) => finding.about(key),
            _ => finding,
        });
        // What does not depend on the key is said once.
        findings.extend(named.filter(|finding| is_first || finding.is_of(Check::Key)));
        is_first = false;
        if attempts.failed(Some(KeyFailure::Other)) != NextKey::Another {
            findings.extend(of_untried(&gateway.tables.load(), provider, attempts.tried()));
            return findings;
        }
    }
}

/// The key of a provider that has several.
fn key_in_words(tables: &Tables, key: UpstreamKey) -> String {
    match key.provider_key_id().and_then(|id| tables.provider_key(id)) {
        Some(further) => format!("provider key {}", further.value.name),
        None => "the provider's own key".to_owned(),
    }
}

/// What is known of the keys that were not tried: a request tries one at most that is set aside, and none that has reached
/// its limit.
fn of_untried(tables: &Tables, provider: &Provider, tried: &[UpstreamKey]) -> Vec<Finding> {
    if !tables.has_provider_keys(provider.provider_id) {
        return Vec::new();
    }
    // Whether there is an own key is known here only if it was refused.
    let rows = ProviderKeys::rows(tables, provider, true).into_iter().filter(|row| !tried.contains(&row.key));
    let found = rows.filter_map(|row| {
        let finding = match (tables.set_aside(row.key, row.generation), row.key) {
            (Some(set_aside), key) => of_set_aside(provider, key, set_aside),
            (None, UpstreamKey::Own(_)) => return None,
            (None, UpstreamKey::Further(_)) => {
                Finding::not_checked(Check::Key, "it has reached a limit of its own, or was refused just now")
            }
        };
        Some(finding.about(&key_in_words(tables, row.key)))
    });
    found.collect()
}

fn of_set_aside(provider: &Provider, key: UpstreamKey, set_aside: &SetAside) -> Finding {
    let (why, advice) = match set_aside.reason {
        SetAsideReason::Refused => ("refused it", remedy::of_refused(provider, key)),
        SetAsideReason::OutOfMoney => ("said that its account has no money left", remedy::OF_EMPTY_ACCOUNT.to_owned()),
    };
    let (since, status) = (rfc3339(set_aside.since), set_aside.status);
    Finding::warning(Check::Key, format!("set aside since {since}: the provider {why} (status {status})"), advice)
}

/// The credentials of the provider as it is now, with one of its keys that was not tried before; the finding if there are none
/// that can be used.
async fn credentials(
    gateway: &Gateway,
    endpoint: &Endpoint,
    provider: &Arc<Provider>,
    attempts: &mut KeyAttempts,
) -> Result<Credentials, Finding> {
    let credentials = Credentials::of(gateway, provider, attempts, 0).await;
    let mut credentials = credentials.map_err(|error| of_credentials(&error))?;
    if let (Some(exchange), Some(key)) = (&endpoint.token_exchange, &credentials.secret) {
        let until = Instant::now() + RESPONSE_MAX;
        let token = exchanged(gateway, exchange, &credentials, key, until).await;
        let token = token.map_err(|error| {
            let detail = format!("the key was not exchanged for an access token: {error}");
            Finding::problem(Check::Key, detail, "give the provider a new key of the service account")
        })?;
        if is_json(key.reveal()) {
            credentials.exchange(token);
        }
    }
    Ok(credentials)
}

/// The messages of these errors name providers, scopes, tenants and variables, and no secret.
fn of_credentials(error: &CredentialsError) -> Finding {
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
        ) => "give the provider a new key",
    };
    Finding::problem(Check::Key, error.to_string(), advice)
}

/// The requests to one provider.
struct Trial<'a> {
    gateway: &'a Gateway,
    kind: ProviderKind,
    endpoint: &'a Endpoint,
    credentials: Credentials,
}

/// A response, as far as it is looked at.
struct Heard {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    /// The middle of the time between request and response.
    at: DateTime<Utc>,
}

/// Whether a request has what the provider needs to know who sent it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    WithKey,
    WithoutKey,
}

impl Trial<'_> {
    async fn run(&self) -> Vec<Finding> {
        let (path, why_not) = match free_request_of(&self.credentials.provider) {
            Some(FreeRequest::Get(path)) => (path, None),
            // Any answer has the provider's time.
            Some(FreeRequest::None(why)) => ("".into(), Some(why)),
            None => return Vec::new(),
        };
        let sent = if why_not.is_none() { Sent::WithKey } else { Sent::WithoutKey };
        let heard = match self.send(&path, sent).await {
            Ok(heard) => heard,
            Err(finding) => return vec![finding],
        };
        let mut findings = vec![self.of_status(&heard, sent), of_clock(&heard.headers, heard.at)];
        if (300..400).contains(&heard.status) {
            return findings;
        }
        findings.push(match why_not {
            Some(_) if self.credentials.exchanged_key.is_some() => {
                Finding::ok(Check::Key, "accepted: it was exchanged for an access token")
            }
            Some(why) => Finding::not_checked(Check::Key, why),
            None => self.of_key(&path, &heard).await,
        });
        findings
    }

    fn of_status(&self, heard: &Heard, sent: Sent) -> Finding {
        match heard.status {
            // Without a free request, the path is none that an API has.
            status @ (404 | 405) if sent == Sent::WithKey => {
                let detail = self.with_message(format!("no API at this address ({status})"), &heard.body);
                Finding::problem(Check::Answer, detail, address_advice(self.kind, &self.credentials.provider))
            }
            status @ 300..=399 => Finding::problem(
                Check::Answer,
                format!("the answer is a redirect ({status}) to another address, and redirects are not followed"),
                "set base_url to the address of the API itself",
            ),
            status @ 500..=599 => {
                let detail = self.with_message(format!("the answer has status {status}"), &heard.body);
                Finding::problem(
                    Check::Answer,
                    detail,
                    "look at the provider's status page, or at the server's own log",
                )
            }
            _ => Finding::ok(Check::Answer, "answers"),
        }
    }

    async fn of_key(&self, path: &str, heard: &Heard) -> Finding {
        let has_key = self.credentials.secret.is_some();
        if (200..300).contains(&heard.status) {
            if !has_key {
                return Finding::ok(Check::Key, "none is needed");
            }
            return match self.send(path, Sent::WithoutKey).await {
                Ok(without) if (200..300).contains(&without.status) => {
                    Finding::not_checked(Check::Key, "the server gives the same answer without a key")
                }
                Ok(without) if matches!(without.status, 400..=499) => Finding::ok(Check::Key, "accepted"),
                Ok(_) | Err(_) => Finding::not_checked(
                    Check::Key,
                    "the answer with the key was good, but it is not known whether the server looks at it",
                ),
            };
        }
        let status = heard.status;
        let refusal = read_refusal(self.kind, status, &heard.headers, &heard.body, heard.at);
        let said = |detail: String| self.with_message(detail, &heard.body);
        match refusal.kind {
            UpstreamRefusalKind::Credentials if !has_key => Finding::problem(
                Check::Key,
                said(format!("the provider needs a key (status {status})")),
                remedy::of_refused(&self.credentials.provider, self.credentials.key().0),
            ),
            // Keys can be good for calls alone.
            UpstreamRefusalKind::Credentials if status == 403 => Finding::warning(
                Check::Key,
                said("the key may not make this request (status 403)".to_owned()),
                format!(
                    "if the key is limited to calls of models, this is well: `ledgerway models try MODEL` tells; otherwise {}",
                    remedy::of_refused(&self.credentials.provider, self.credentials.key().0)
                ),
            ),
            UpstreamRefusalKind::Credentials => Finding::problem(
                Check::Key,
                said(format!("the provider refuses the key (status {status})")),
                remedy::of_refused(&self.credentials.provider, self.credentials.key().0),
            ),
            UpstreamRefusalKind::OutOfMoney => Finding::problem(
                Check::Key,
                said("the provider's account has no money left".to_owned()),
                "add credit at the provider",
            ),
            UpstreamRefusalKind::RateLimited { .. } => {
                Finding::not_checked(Check::Key, "too many requests at the provider: try again later")
            }
            UpstreamRefusalKind::Transient { .. }
            | UpstreamRefusalKind::Rejected(_)
            | UpstreamRefusalKind::BadRequest
            | UpstreamRefusalKind::Other => {
                Finding::not_checked(Check::Key, said(format!("GET {path} was answered with status {status}")))
            }
        }
    }

    /// The sentence with what the provider says, redacted.
    fn with_message(&self, detail: String, body: &[u8]) -> String {
        match message_of(body, &self.credentials.redactor()) {
            Some(message) => format!("{detail}: {message}"),
            None => detail,
        }
    }

    /// Sends a `GET`. Errors: there is no response that can be read.
    async fn send(&self, path: &str, sent: Sent) -> Result<Heard, Finding> {
        let before = self.gateway.clock.now();
        let request = self.request(path, sent, before)?;
        // A client of its own, whose connections end with it.
        let client = self.gateway.upstreams.uncached_client(&self.credentials.provider);
        let exchange = async {
            let (parts, body) = client.send(None, request.map(|_| RequestBody::default())).await?.into_parts();
            let answered = self.gateway.clock.now();
            Ok((parts.status.as_u16(), parts.headers, beginning_of(body).await, answered))
        };
        let problem = |detail: String| {
            Finding::problem(Check::Answer, detail, "check that base_url is the address of the provider's API")
        };
        match timeout(RESPONSE_MAX, exchange).await {
            Ok(Ok((status, headers, body, answered))) => {
                Ok(Heard { status, headers, body, at: before + (answered - before) / 2 })
            }
            Ok(Err(SendError::Malformed)) => Err(problem("the answer is not HTTP".to_owned())),
            Ok(Err(error)) => Err(problem(format!("there was no answer: {error}"))),
            Err(_) => Err(problem("there was no answer in time".to_owned())),
        }
    }

    /// Errors: the provider's settings or its key make no request.
    fn request(&self, path: &str, sent: Sent, now: DateTime<Utc>) -> Result<Request<Bytes>, Finding> {
        let provider = &self.credentials.provider;
        let wrong = || {
            Finding::problem(
                Check::Address,
                "its base_url or its headers make no request",
                "correct base_url and headers",
            )
        };
        let base_url = provider.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
        let mut request = Request::get([base_url, path].concat()).body(Bytes::new()).map_err(|_| wrong())?;
        let headers = request.headers_mut();
        for (name, value) in &provider.headers {
            if sent == Sent::WithoutKey && may_be_secret(name, value) {
                continue;
            }
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) = header.ok_or_else(wrong)?;
            headers.insert(name, value);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ledgerway/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in self.endpoint.headers {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        if let (Sent::WithKey, Some(secret)) = (sent, &self.credentials.secret) {
            let (api_version, region) = (provider.api_version.as_deref(), provider.region.as_deref());
            let invocation = Invocation { model: "", streamed: false, api_version, region };
            (self.endpoint.authenticate)(&mut request, secret, &invocation, now)
                .map_err(|fault| Finding::problem(Check::Key, format!("{} {fault}", fault.field()), "correct it"))?;
        }
        Ok(request)
    }
}

/// What to do about an address without an API.
fn address_advice(kind: ProviderKind, provider: &Provider) -> String {
    let usual_end = upstreams::usual_end_of_address(kind);
    let base_url = provider.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
    // Commands do not change a provider of the environment.
    let variable = provider.key_variable.as_ref().filter(|_| provider.origin.is_some());
    let variable = variable.and_then(|key| Some(format!(" ({}BASE_URL)", key.strip_suffix("API_KEY")?)));
    let field = format!("check base_url{}", variable.unwrap_or_default());
    match usual_end.filter(|end| !base_url.ends_with(end)) {
        Some(end) => format!("{field}: for this kind it usually ends in {end}"),
        None => format!("{field}: it must be the address of the provider's API"),
    }
}

/// The beginning of a body: enough for the message of an error.
async fn beginning_of(mut body: upstream::ResponseBody) -> Bytes {
    let mut read = Vec::new();
    while read.len() < REFUSAL_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(data);
        }
    }
    read.truncate(REFUSAL_BYTES_MAX);
    read.into()
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Origin, ProviderKindName};
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

    #[test]
    fn an_address_without_an_api_is_compared_with_the_usual_one_and_named_by_its_variable() {
        let advice = |name, kind, base_url: &str, key_variable: Option<&str>| {
            let id = format!("prv_{:032x}", 1).parse().expect("an id");
            let provider = Provider {
                base_url: Some(base_url.to_owned()),
                origin: key_variable.map(|_| Origin::Environment),
                key_variable: key_variable.map(str::to_owned),
                ..Provider::new(id, "p", ProviderKindName::literal(name))
            };
            address_advice(kind, &provider)
        };
        let of_openai = |base_url, variable| advice("openai", ProviderKind::Openai, base_url, variable);
        let usual = "for this kind it usually ends in /v1";
        assert_eq!(of_openai("http://a.example", None), format!("check base_url: {usual}"));
        let named = of_openai("http://a.example", Some("OPENAI_API_KEY"));
        assert_eq!(named, format!("check base_url (OPENAI_BASE_URL): {usual}"));
        assert!(!of_openai("http://a.example/v1/", None).contains(usual));
        assert!(!advice("ollama", ProviderKind::Ollama, "http://a.example", None).contains("usually"));
    }
}
