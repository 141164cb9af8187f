//! The requests with one of a provider's keys, and what the answers say.

use built_in_catalogue::Catalogue;
use chrono::{DateTime, Utc};
use dialects::provider_dialects::{self, Endpoint, FreeRequest, KeyBlame, free_request_of};
use dialects::{ProviderKind, UpstreamRefusalKind, read_refusal};
use events::event::admin::Provider;
use provider_client::SendError;
use tokio::time::Instant;

use super::clock::of_clock;
use super::message::message_of;
use super::report::{Check, Finding};
use crate::inference::{Credentials, Gateway, exchanged, remedy};
use crate::provider_get::{Answer, GetError, Sender, Wanted, get};
use crate::service_account::is_json;

/// The findings for one key.
pub struct KeyFindings {
    /// The findings that any key would have.
    pub general: Vec<Finding>,
    /// `None` if there was no answer that says anything about the key.
    pub key: Option<Finding>,
}

impl KeyFindings {
    pub const fn of_key(key: Finding) -> Self {
        Self { general: Vec::new(), key: Some(key) }
    }
}

/// The trials of all keys of one provider.
pub struct Trials<'a> {
    pub gateway: &'a Gateway,
    kind: ProviderKind,
    endpoint: &'a Endpoint,
    /// How the provider answers without a key; `None` if that is not known yet.
    stranger: Option<u16>,
}

impl<'a> Trials<'a> {
    pub const fn new(gateway: &'a Gateway, kind: ProviderKind, endpoint: &'a Endpoint) -> Self {
        Self { gateway, kind, endpoint, stranger: None }
    }

    pub async fn of(&mut self, mut credentials: Credentials) -> KeyFindings {
        if let (Some(exchange), Some(key)) = (&self.endpoint.token_exchange, &credentials.secret) {
            let until = Instant::now() + Wanted::Beginning.wait_max();
            match exchanged(self.gateway, exchange, &credentials, key, until).await {
                Ok(token) if is_json(key.reveal()) => credentials.exchange(token),
                Ok(_) => {}
                Err(error) => {
                    let detail = format!("the key was not exchanged for an access token: {error}");
                    let advice = "give the provider a new key of the service account";
                    return KeyFindings::of_key(Finding::problem(Check::Key, detail, advice));
                }
            }
        }
        Trial { gateway: self.gateway, kind: self.kind, credentials }.run(&mut self.stranger).await
    }
}

/// The requests with one key.
struct Trial<'a> {
    gateway: &'a Gateway,
    kind: ProviderKind,
    credentials: Credentials,
}

impl Trial<'_> {
    async fn run(&self, stranger: &mut Option<u16>) -> KeyFindings {
        let (path, why_not) = match free_request_of(&self.credentials.provider) {
            Some(FreeRequest::Get(path)) => (path, None),
            // Any answer has the provider's time.
            Some(FreeRequest::None(why)) => ("".into(), Some(why)),
            None => return KeyFindings { general: Vec::new(), key: None },
        };
        let sender = match why_not {
            None => Sender::Own(self.credentials.secret.as_ref(), &self.credentials.secret_headers),
            Some(_) => Sender::Stranger,
        };
        let (answer, at) = match self.send(&path, sender).await {
            Ok(answered) => answered,
            Err(finding) if finding.is_of(Check::Key) => return KeyFindings::of_key(finding),
            Err(finding) => return KeyFindings { general: vec![finding], key: None },
        };
        let general = vec![self.of_status(&answer, why_not.is_none()), of_clock(&answer.headers, at)];
        if (300..400).contains(&answer.status) {
            return KeyFindings { general, key: None };
        }
        let key = match why_not {
            Some(_) if self.credentials.exchanged_key.is_some() => {
                Finding::ok(Check::Key, "accepted: it was exchanged for an access token")
            }
            Some(why) => Finding::not_checked(Check::Key, why),
            None => self.of_key(&path, &answer, at, stranger).await,
        };
        KeyFindings { general, key: Some(key) }
    }

    fn of_status(&self, answer: &Answer, has_free_request: bool) -> Finding {
        match answer.status {
            // Without a free request, the path is none that an API has.
            status @ (404 | 405) if has_free_request => {
                let detail = self.with_message(format!("no API at this address ({status})"), &answer.body);
                Finding::problem(Check::Answer, detail, address_advice(self.kind, &self.credentials.provider))
            }
            status @ 300..=399 => Finding::problem(
                Check::Answer,
                format!("the answer is a redirect ({status}) to another address, and redirects are not followed"),
                "set base_url to the address of the API itself",
            ),
            status @ 500..=599 => {
                let detail = self.with_message(format!("the answer has status {status}"), &answer.body);
                Finding::problem(
                    Check::Answer,
                    detail,
                    "look at the provider's status page, or at the server's own log",
                )
            }
            _ => Finding::ok(Check::Answer, "answers"),
        }
    }

    async fn of_key(&self, path: &str, answer: &Answer, at: DateTime<Utc>, stranger: &mut Option<u16>) -> Finding {
        let has_key = self.credentials.secret.is_some() || !self.credentials.secret_headers.is_empty();
        if (200..300).contains(&answer.status) {
            if !has_key {
                return Finding::ok(Check::Key, "none is needed");
            }
            // No key is in it, so it is asked once for all keys.
            if stranger.is_none() {
                *stranger = self.send(path, Sender::Stranger).await.ok().map(|(answer, _)| answer.status);
            }
            return match *stranger {
                Some(200..=299) => Finding::not_checked(Check::Key, "the server gives the same answer without a key"),
                Some(400..=499) => Finding::ok(Check::Key, "accepted"),
                Some(_) | None => Finding::not_checked(
                    Check::Key,
                    "the answer with the key was good, but it is not known whether the server looks at it",
                ),
            };
        }
        let status = answer.status;
        let refusal = read_refusal(self.kind, status, &answer.headers, &answer.body, at);
        let said = |detail: String| self.with_message(detail, &answer.body);
        match refusal.kind {
            UpstreamRefusalKind::Credentials if !has_key => {
                Finding::problem(Check::Key, said(format!("the provider needs a key (status {status})")), self.remedy())
            }
            // A key may be limited to calls, and some say so with 401. A 400 gets here by saying that the key is wrong.
            UpstreamRefusalKind::Credentials if refusal.key_blame == KeyBlame::None && matches!(status, 401 | 403) => {
                Finding::warning(
                    Check::Key,
                    said(format!("the key may not make this request (status {status})")),
                    format!(
                        "if the key is limited to calls of models, this is well: `ledgerway models try MODEL` tells; otherwise {}",
                        self.remedy()
                    ),
                )
            }
            UpstreamRefusalKind::Credentials => Finding::problem(
                Check::Key,
                said(format!("the provider refuses the key (status {status})")),
                self.remedy(),
            ),
            UpstreamRefusalKind::OutOfMoney => Finding::problem(
                Check::Key,
                said("the provider's account has no money left".to_owned()),
                remedy::OF_EMPTY_ACCOUNT,
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

    /// Returns advice about a key that is refused.
    fn remedy(&self) -> String {
        remedy::of_refused(&self.credentials.provider, self.credentials.key().key)
    }

    /// The sentence with what the provider says, redacted.
    fn with_message(&self, detail: String, body: &[u8]) -> String {
        match message_of(body, &self.credentials.redactor()) {
            Some(message) => format!("{detail}: {message}"),
            None => detail,
        }
    }

    /// The answer, and the middle of the time between request and response.
    async fn send(&self, path: &str, sender: Sender<'_>) -> Result<(Answer, DateTime<Utc>), Finding> {
        let (provider, began) = (&self.credentials.provider, self.gateway.clock.now());
        let answer = get(&self.gateway.providers.clients, provider, path, sender, Wanted::Beginning, began).await;
        match answer {
            Ok(answer) => {
                let at = began + answer.waited / 2;
                Ok((answer, at))
            }
            Err(error) => Err(of_error(error)),
        }
    }
}

fn of_error(error: GetError) -> Finding {
    let problem = |detail: String| {
        Finding::problem(Check::Answer, detail, "check that base_url is the address of the provider's API")
    };
    match error {
        GetError::Unsendable => Finding::problem(Check::Address, error.to_string(), "correct base_url and headers"),
        GetError::Key(_) => Finding::problem(Check::Key, error.to_string(), "correct it"),
        GetError::Send(SendError::Malformed) => problem("the answer is not HTTP".to_owned()),
        GetError::Send(error) => problem(format!("there was no answer: {error}")),
        GetError::Timeout | GetError::Incomplete => problem(error.to_string()),
    }
}

/// Returns advice about an address without an API.
fn address_advice(kind: ProviderKind, provider: &Provider) -> String {
    let usual_end = provider_dialects::usual_end_of_address(kind);
    let base_url = provider.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
    // Commands do not change a provider of the environment.
    let key = provider.key_variable.as_deref().filter(|_| provider.origin.is_some());
    let variable = key.and_then(|key| Catalogue::shipped().address_variable(&provider.kind, Some(key)));
    let field = format!("check base_url{}", variable.map(|name| format!(" ({name})")).unwrap_or_default());
    match usual_end.filter(|end| !base_url.ends_with(end)) {
        Some(end) => format!("{field}: for this kind it usually ends in {end}"),
        None => format!("{field}: it must be the address of the provider's API"),
    }
}

#[cfg(test)]
mod tests {
    use events::event::admin::{Origin, ProviderKindName};

    use super::*;

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
        let azure = advice("azure_openai", ProviderKind::AzureOpenai, "http://a.example", Some("AZURE_OPENAI_API_KEY"));
        assert!(azure.starts_with("check base_url (AZURE_OPENAI_ENDPOINT): "), "{azure}");
        assert!(!of_openai("http://a.example/v1/", None).contains(usual));
        assert!(!advice("ollama", ProviderKind::Ollama, "http://a.example", None).contains("usually"));
    }
}
