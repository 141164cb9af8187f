//! Asks local servers for their models. `provider_get.rs` bounds the answers, and checks every address before it is called.
//!
//! Only private addresses are asked: a model at a public one has a price, which its server does not tell.

use std::net::IpAddr;
use std::sync::Arc;

use built_in_catalogue::is_model_name;
use chrono::{DateTime, Utc};
use dialects::provider_dialects::{ModelList, model_list_of};
use events::event::admin::Provider;
use provider_client::{Owner, UpstreamClients, guard};
use tokio::time::timeout;

use super::offer::{Offer, local_offer};
use crate::provider_get::{GetError, Sender, Wanted, get};

/// The most models of one server. Any others are left out.
const MODELS_MAX: usize = 500;

/// The result of asking a server.
#[derive(Debug)]
pub enum Discovery {
    Listed(Vec<Offer>),
    /// The server is at a public address, where models are not free.
    NotPrivate,
    /// The server did not answer, or not as such a server does.
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
    sender: Sender<'_>,
    now: DateTime<Utc>,
) -> Discovery {
    let (Some(list), Some(base_url)) = (model_list_of(provider), provider.base_url.as_deref()) else {
        return Discovery::NoAnswer;
    };
    let asking = async {
        match privacy_of(base_url, provider.tenant_id).await {
            Privacy::Public => return Ok(Discovery::NotPrivate),
            Privacy::Unknown => return Err("its address does not resolve".to_owned()),
            Privacy::Private => {}
        }
        let answer = get(clients, provider, list.path, sender, Wanted::WholeList, now).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("it answered with status {}", answer.status));
        }
        Ok(offers(list, &answer.body).map_or(Discovery::NoAnswer, Discovery::Listed))
    };
    // Resolving the name takes its part of the time.
    let asked = timeout(Wanted::WholeList.wait_max(), asking).await;
    asked.unwrap_or_else(|_| Err(GetError::Timeout.to_string())).unwrap_or_else(|reason| {
        tracing::debug!(provider = %provider.name, reason, "a local server has not listed its models");
        Discovery::NoAnswer
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privacy {
    /// Every address of the host is a private one that may be called. The client checks the one that it connects to again.
    Private,
    Public,
    /// The host does not resolve now.
    Unknown,
}

async fn privacy_of(base_url: &str, owner: Owner) -> Privacy {
    let Ok(url) = url::Url::parse(base_url) else { return Privacy::Unknown };
    let addresses: Arc<[IpAddr]> = match url.host() {
        Some(url::Host::Ipv4(ip)) => Arc::new([IpAddr::V4(ip)]),
        Some(url::Host::Ipv6(ip)) => Arc::new([IpAddr::V6(ip)]),
        Some(url::Host::Domain(name)) => match names::resolve(name, owner).await {
            Ok(addresses) => addresses,
            Err(_) => return Privacy::Unknown,
        },
        None => return Privacy::Unknown,
    };
    let is_private = |ip: &IpAddr| guard::is_forbidden(*ip, false) && !guard::is_forbidden(*ip, true);
    match &*addresses {
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
            assert_eq!(privacy_of(base_url, None).await, wanted, "{base_url}");
        }
    }
}
