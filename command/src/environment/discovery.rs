//! Asks local servers for their models. Answers are bounded in size and time, and every address is checked before it is called.
//!
//! Only private addresses are asked: a model at a public one has a price, which its server does not tell.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::ProviderKind;
use dialects::upstreams::{self, Invocation, ModelList, model_list_of};
use events::event::admin::Provider;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use secrets::Secret;
use tokio::time::timeout;
use upstream::{RequestBody, UpstreamClients, guard};

use super::offer::{Offer, is_model_name, local_offer};

/// How long a server has for its whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most models of one server. Any others are left out.
const MODELS_MAX: usize = 500;

/// The models of a list, as far as clients can ask for them.
pub fn offers(list: ModelList, body: &[u8]) -> Option<Vec<Offer>> {
    let listed = (list.read)(body)?.into_iter().filter(|model| is_model_name(&model.name)).take(MODELS_MAX);
    Some(listed.map(|model| local_offer(model.name, model.context_window)).collect())
}

/// The models that the provider's server has; `None` if it does not answer, or not as such a server does.
pub async fn discover(
    clients: &UpstreamClients,
    provider: &Provider,
    key: Option<&Secret>,
    now: DateTime<Utc>,
) -> Option<Vec<Offer>> {
    let list = model_list_of(provider)?;
    match timeout(ANSWER_MAX, ask(clients, provider, key, list, now)).await {
        Ok(Ok(body)) => offers(list, &body),
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
    let request = Request::get([base_url, list.path].concat()).header(ACCEPT, "application/json").body(Bytes::new());
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
    use events::event::admin::ProviderKindName;

    use super::*;

    #[test]
    fn a_server_has_at_most_so_many_models_and_each_can_be_asked_for() {
        let provider = Provider::new(
            format!("prv_{:032x}", 1).parse().expect("an id"),
            "o",
            "ollama".parse::<ProviderKindName>().expect("a name"),
        );
        let list = model_list_of(&provider).expect("a list");
        let named = |number: usize| serde_json::json!({ "name": if number == 0 { "a b".to_owned() } else { number.to_string() } });
        let models: Vec<_> = (0..MODELS_MAX + 9).map(named).collect();
        let body = serde_json::json!({ "models": models }).to_string();
        let offers = offers(list, body.as_bytes()).expect("a list");
        assert_eq!((offers.len(), offers[0].backend.as_str()), (MODELS_MAX, "1"));
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
