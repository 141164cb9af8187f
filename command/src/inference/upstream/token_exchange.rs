//! Exchanges the key of a service account for an access token, at a server that is not the provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dialects::provider_dialects::TokenExchange;
use events::event::admin::Provider;
use events::time::Clock;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use provider_client::{RequestBody, Transmission, UpstreamClient};
use secrets::Secret;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::credentials::Credentials;
use crate::inference::keys::access_tokens::{GrantedToken, TokenError};
use crate::inference::node::gateway::Gateway;
use crate::service_account::{ServiceAccount, is_json};

/// How long a token lasts if its response does not say so.
const LASTS_AT_LEAST: Duration = Duration::from_secs(300);
/// The largest response with a token.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// The secret that a provider's requests are authenticated with: a token for a service account's key, or the key itself.
pub async fn exchanged(
    gateway: &Gateway,
    exchange: &TokenExchange,
    credentials: &Credentials,
    key: &Secret,
    until: Instant,
) -> Result<Secret, TokenError> {
    if !is_json(key.reveal()) {
        return Ok(key.clone());
    }
    let (provider, id) = (&credentials.provider, credentials.provider.provider_id);
    let fetch = || {
        let exchange = Exchange::of(gateway, exchange, provider, key);
        async move {
            let fetched = match exchange {
                Ok(exchange) => exchange.run().await,
                Err(error) => Err(error),
            };
            if let Err(error) = &fetched {
                tracing::error!(%error, provider = %id, "cannot exchange a provider's key for an access token");
            }
            fetched
        }
    };
    let token = gateway.providers.access_tokens.token(credentials.key(), fetch);
    timeout_at(until, token).await.unwrap_or(Err(TokenError::Timeout))
}

/// One exchange. It has all that it needs, because it may last longer than the request that began it.
struct Exchange {
    account: ServiceAccount,
    scope: &'static str,
    address: String,
    client: UpstreamClient,
    clock: Arc<dyn Clock>,
}

impl Exchange {
    fn of(gateway: &Gateway, exchange: &TokenExchange, provider: &Provider, key: &Secret) -> Result<Self, TokenError> {
        let account = ServiceAccount::parse(key).map_err(|_| TokenError::Key)?;
        // The key's own address is whatever its administrator wrote there: it counts only where private ones are allowed.
        // Administration takes no other address than Google's into a key before that.
        let own = account.token_uri().filter(|_| provider.allow_private_network);
        let address = own.unwrap_or(exchange.token_uri).to_owned();
        let server = Provider { base_url: Some(address.clone()), ..provider.clone() };
        let client = gateway.providers.clients.uncached_client(&server);
        Ok(Self { account, scope: exchange.scope, address, client, clock: Arc::clone(&gateway.clock) })
    }

    async fn run(self) -> Result<GrantedToken, TokenError> {
        let Self { account, scope, address, client, clock } = self;
        let assertion = account.assertion(scope, &address, clock.now()).ok_or(TokenError::Key)?;
        let body = ["grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=", &assertion].concat();
        let request = Request::post(address)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(RequestBody::new(Bytes::from(body), Transmission::default()))
            .map_err(|_| TokenError::Key)?;
        let response = client.send(None, request).await.map_err(TokenError::Send)?;
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(TokenError::Refused(status.as_u16()));
            }
            // A redirect or an unknown path says nothing about the key.
            status => return Err(TokenError::Failed(status.as_u16())),
        }
        let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await;
        granted(&body.map_err(|_| TokenError::Malformed)?.to_bytes()).ok_or(TokenError::Malformed)
    }
}

/// The token in a response.
fn granted(body: &[u8]) -> Option<GrantedToken> {
    #[derive(Deserialize)]
    struct Response {
        access_token: String,
        expires_in: Option<u32>,
    }
    let Response { access_token, expires_in } = serde_json::from_slice(body).ok()?;
    let is_token = !access_token.is_empty() && access_token.bytes().all(|byte| byte.is_ascii_graphic());
    let lasts = expires_in.map_or(LASTS_AT_LEAST, |seconds| Duration::from_secs(seconds.into()));
    is_token.then(|| GrantedToken { token: Secret::new(access_token), lasts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_value_is_a_token() {
        let read =
            |body: &str| granted(body.as_bytes()).map(|granted| (granted.token.reveal().to_owned(), granted.lasts));
        let seconds = Duration::from_secs;
        let whole = r#"{"access_token":"ya29.a-b_c","expires_in":3599,"token_type":"Bearer"}"#;
        assert_eq!(read(whole), Some(("ya29.a-b_c".to_owned(), seconds(3599))));
        assert_eq!(read(r#"{"access_token":"t"}"#), Some(("t".to_owned(), LASTS_AT_LEAST)));
        for body in ["", "<html>", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"id_token":"t"}"#]
        {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
