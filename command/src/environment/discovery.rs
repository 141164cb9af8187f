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

/// What is known of a server after it was asked.
#[derive(Debug)]
pub enum Discovery {
    Listed(Vec<Offer>),
    /// It is at a public address, where models are not free.
    NotPrivate,
    /// It did not answer, or not as such a server does.
    NoAnswer,
}

/// The models of a list, as far as clients can ask for them.
pub fn offers(list: ModelList, body: &[u8]) -> Option<Vec<Offer>> {
    let listed = (list.read)(body)?.into_iter().filter(|model| is_model_name(&model.name)).take(MODELS_MAX);
    Some(listed.map(|model| local_offer(model.name, model.context_window)).collect())
}

/// Asks the provider's server for its models.
pub async fn discover(
    clients: &UpstreamClients,
    provider: &Provider,
    key: Option<&Secret>,
    now: DateTime<Utc>,
) -> Discovery {
    let (Some(list), Some(base_url)) = (model_list_of(provider), provider.base_url.as_deref()) else {
        return Discovery::NoAnswer;
    };
    let asking = async {
        match privacy_of(base_url).await {
            Privacy::Public => return Ok(Discovery::NotPrivate),
            Privacy::Unknown => return Err("its address does not resolve"),
            Privacy::Private => {}
        }
        let body = ask(clients, provider, base_url, key, list, now).await?;
        Ok(offers(list, &body).map_or(Discovery::NoAnswer, Discovery::Listed))
    };
    match timeout(ANSWER_MAX, asking).await {
        Ok(Ok(discovery)) => discovery,
        Ok(Err(reason)) => {
            tracing::debug!(provider = %provider.name, reason, "a local server has not listed its models");
            Discovery::NoAnswer
        }
        Err(_) => {
            tracing::debug!(provider = %provider.name, "a local server did not answer in time");
            Discovery::NoAnswer
        }
    }
}

async fn ask(
    clients: &UpstreamClients,
    provider: &Provider,
    base_url: &str,
    key: Option<&Secret>,
    list: ModelList,
    now: DateTime<Utc>,
) -> Result<Bytes, &'static str> {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privacy {
    /// Every address of the host is a private one that may be called. The client checks the one that it connects to again.
    Private,
    Public,
    /// It does not resolve now.
    Unknown,
}

async fn privacy_of(base_url: &str) -> Privacy {
    let Ok(url) = url::Url::parse(base_url) else { return Privacy::Unknown };
    let addresses: Vec<SocketAddr> = match (url.host(), url.port_or_known_default()) {
        (Some(url::Host::Ipv4(ip)), Some(port)) => vec![(ip, port).into()],
        (Some(url::Host::Ipv6(ip)), Some(port)) => vec![(ip, port).into()],
        (Some(url::Host::Domain(name)), Some(port)) => match tokio::net::lookup_host((name, port)).await {
            Ok(addresses) => addresses.collect(),
            Err(_) => return Privacy::Unknown,
        },
        (None, _) | (_, None) => return Privacy::Unknown,
    };
    let is_private =
        |address: &SocketAddr| guard::is_forbidden(address.ip(), false) && !guard::is_forbidden(address.ip(), true);
    match addresses.as_slice() {
        [] => Privacy::Unknown,
        all if all.iter().all(is_private) => Privacy::Private,
        _ => Privacy::Public,
    }
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
            ("http://127.0.0.1:11434", Privacy::Private),
            ("http://10.1.2.3", Privacy::Private),
            ("http://[::1]:1/v1", Privacy::Private),
            ("http://localhost:11434", Privacy::Private),
            ("http://1.1.1.1", Privacy::Public),
            ("http://169.254.169.254", Privacy::Public),
            ("http://does-not-resolve.invalid", Privacy::Unknown),
            ("nonsense", Privacy::Unknown),
        ] {
            assert_eq!(privacy_of(base_url).await, wanted, "{base_url}");
        }
    }
}
