//! Asks local servers for their models. Answers are bounded in size and time, and every address is checked before it is called.
//!
//! Only private addresses are asked: a model at a public one has a price, which its server does not tell.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::upstreams::{self, Invocation};
use dialects::{ProviderKind, Server};
use events::event::admin::Provider;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use secrets::Secret;
use serde::Deserialize;
use tokio::time::timeout;
use upstream::{RequestBody, UpstreamClients, guard};

use super::offer::{Offer, is_model_name, local_offer};

/// How long a server has for its whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most models of one server. Any others are left out.
const MODELS_MAX: usize = 500;

/// The list of a local server's models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelList {
    /// Ollama's own.
    Ollama,
    OpenAi,
}

impl ModelList {
    /// The list that a provider has; `None` if it is no local server whose list is known.
    pub fn of(provider: &Provider) -> Option<Self> {
        match ProviderKind::named(&provider.kind)? {
            ProviderKind::Ollama => Some(Self::Ollama),
            ProviderKind::Openai => match upstreams::server_of(provider)? {
                Server::Vllm | Server::Sglang | Server::LlamaCpp => Some(Self::OpenAi),
                _ => None,
            },
            _ => None,
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Ollama => "/api/tags",
            Self::OpenAi => "/models",
        }
    }

    pub fn read(self, body: &[u8]) -> Option<Vec<Offer>> {
        let offers: Vec<Offer> = match self {
            Self::Ollama => serde_json::from_slice::<OllamaTags>(body).ok()?.offers().collect(),
            Self::OpenAi => serde_json::from_slice::<OpenAiModels>(body).ok()?.offers().collect(),
        };
        Some(offers.into_iter().filter(|offer| is_model_name(&offer.backend)).take(MODELS_MAX).collect())
    }
}

#[derive(Deserialize)]
struct OllamaTags {
    models: Vec<OllamaModel>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
    /// A model that runs elsewhere, and costs what its account pays.
    #[serde(default)]
    remote_host: Option<String>,
}

impl OllamaTags {
    fn offers(self) -> impl Iterator<Item = Offer> {
        let here = self.models.into_iter().filter(|model| model.remote_host.as_deref().is_none_or(str::is_empty));
        here.map(|model| local_offer(model.name, None))
    }
}

#[derive(Deserialize)]
struct OpenAiModels {
    data: Vec<OpenAiModel>,
}

#[derive(Deserialize)]
struct OpenAiModel {
    id: String,
    #[serde(default)]
    max_model_len: Option<u32>,
}

impl OpenAiModels {
    fn offers(self) -> impl Iterator<Item = Offer> {
        let window = |tokens: Option<u32>| tokens.filter(|tokens| *tokens > 0).map(u64::from);
        self.data.into_iter().map(move |model| local_offer(model.id, window(model.max_model_len)))
    }
}

/// The models that the provider's server has; `None` if it does not answer, or not as such a server does.
pub async fn discover(
    clients: &UpstreamClients,
    provider: &Provider,
    key: Option<&Secret>,
    now: DateTime<Utc>,
) -> Option<Vec<Offer>> {
    let list = ModelList::of(provider)?;
    match timeout(ANSWER_MAX, ask(clients, provider, key, list, now)).await {
        Ok(Ok(body)) => list.read(&body),
        Ok(Err(reason)) => {
            tracing::debug!(provider = %provider.name, reason, "a local server was not asked for its models");
            None
        }
        Err(_) => {
            tracing::debug!(provider = %provider.name, "a local server did not answer in time");
            None
        }
    }
}

async fn ask(
    clients: &UpstreamClients,
    provider: &Provider,
    key: Option<&Secret>,
    list: ModelList,
    now: DateTime<Utc>,
) -> Result<Bytes, &'static str> {
    let base_url = provider.base_url.as_deref().ok_or("it has no address")?;
    if !is_private(base_url).await {
        return Err("its address is not private, or does not resolve");
    }
    let request = Request::get([base_url, list.path()].concat()).header(ACCEPT, "application/json").body(Bytes::new());
    let mut request = request.map_err(|_| "its address makes no request")?;
    let endpoint = ProviderKind::named(&provider.kind).and_then(|kind| upstreams::of(kind).endpoint());
    if let (Some(endpoint), Some(key)) = (endpoint, key) {
        let invocation = Invocation { model: "", streamed: false, api_version: None, region: None };
        (endpoint.authenticate)(&mut request, key, &invocation, now).map_err(|_| "its key makes no header")?;
    }
    let client = clients.uncached_client(provider);
    let response = client.send(None, request.map(|_| RequestBody::default())).await.map_err(|error| error.reason())?;
    if response.status() != StatusCode::OK {
        return Err("it refused");
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(body.map_err(|_| "its answer broke off, or is too long")?.to_bytes())
}

/// True if every address of the host is a private one that may be called. The client checks the one that it connects to again.
async fn is_private(base_url: &str) -> bool {
    let Ok(url) = url::Url::parse(base_url) else { return false };
    let addresses: Vec<SocketAddr> = match (url.host(), url.port_or_known_default()) {
        (Some(url::Host::Ipv4(ip)), Some(port)) => vec![(ip, port).into()],
        (Some(url::Host::Ipv6(ip)), Some(port)) => vec![(ip, port).into()],
        (Some(url::Host::Domain(name)), Some(port)) => match tokio::net::lookup_host((name, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(_) => return false,
        },
        (None, _) | (_, None) => return false,
    };
    let is_private =
        |address: &SocketAddr| guard::is_forbidden(address.ip(), false) && !guard::is_forbidden(address.ip(), true);
    !addresses.is_empty() && addresses.iter().all(is_private)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: ModelList, body: &str) -> Option<Vec<String>> {
        Some(list.read(body.as_bytes())?.into_iter().map(|offer| offer.backend).collect())
    }

    #[test]
    fn the_models_of_both_lists_are_read_and_what_is_no_name_is_left_out() {
        let tags = r#"{"models":[{"name":"llama3:latest","model":"llama3:latest","size":1},{"name":"a b"},{"name":""},
                       {"name":"big:cloud","remote_host":"https://ollama.com"},{"name":"here","remote_host":""}]}"#;
        assert_eq!(names(ModelList::Ollama, tags), Some(vec!["llama3:latest".to_owned(), "here".to_owned()]));
        let models =
            r#"{"object":"list","data":[{"id":"Qwen/Qwen3-4B","max_model_len":32768},{"id":"x","max_model_len":0}]}"#;
        assert_eq!(names(ModelList::OpenAi, models), Some(vec!["Qwen/Qwen3-4B".to_owned(), "x".to_owned()]));
        let windows: Vec<_> =
            ModelList::OpenAi.read(models.as_bytes()).into_iter().flatten().map(|offer| offer.context_window).collect();
        assert_eq!(windows, [Some(32_768), None]);
    }

    #[test]
    fn an_answer_of_another_form_is_none() {
        for body in
            ["", "[]", "{}", "null", r#"{"models":{}}"#, r#"{"models":[{}]}"#, r#"{"data":[{"id":7}]}"#, "<html>"]
        {
            assert_eq!((names(ModelList::Ollama, body), names(ModelList::OpenAi, body)), (None, None), "{body}");
        }
        assert_eq!(names(ModelList::Ollama, r#"{"models":[]}"#), Some(vec![]));
    }

    #[test]
    fn a_server_lists_at_most_so_many_models() {
        let models: Vec<_> =
            (0..MODELS_MAX + 9).map(|number| serde_json::json!({ "id": number.to_string() })).collect();
        let body = serde_json::json!({ "data": models }).to_string();
        assert_eq!(names(ModelList::OpenAi, &body).map(|names| names.len()), Some(MODELS_MAX));
    }

    #[tokio::test]
    async fn only_a_private_address_that_may_be_called_is_asked() {
        for (base_url, wanted) in [
            ("http://127.0.0.1:11434", true),
            ("http://10.1.2.3", true),
            ("http://[::1]:1/v1", true),
            ("http://localhost:11434", true),
            ("http://1.1.1.1", false),
            ("http://169.254.169.254", false),
            ("http://does-not-resolve.invalid", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_private(base_url).await, wanted, "{base_url}");
        }
    }
}
