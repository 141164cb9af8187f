//! A `GET` to a provider beside the request path, free of charge: what the doctor asks, and the discovery of models.
//!
//! All bounds are here. [`Wanted`] says how many bytes of a body are read, and how long everything may take together. Redirects
//! are not followed, so a key goes to the provider's own address alone, which the client checks before it connects. Each `GET`
//! has a connection of its own, which ends with it.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::provider_dialects::{self, Invocation, KeyFault};
use dialects::{ProviderKind, REFUSAL_BYTES_MAX, may_be_secret};
use events::event::admin::Provider;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use provider_client::{RequestBody, ResponseBody, SendError, UpstreamClients};
use secrets::Secret;
use tokio::time::{Instant, timeout};

use crate::secret_headers::SecretHeaders;

/// The wanted part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The whole body, from a server nearby. One that is too long is an error.
    WholeList,
    /// The status and the beginning of the body: enough for the message of an error.
    Beginning,
}

impl Wanted {
    const fn bytes_max(self) -> usize {
        match self {
            Self::WholeList => 4 * 1024 * 1024,
            Self::Beginning => REFUSAL_BYTES_MAX,
        }
    }

    /// How long the provider has, from the connection to the last byte.
    pub const fn wait_max(self) -> Duration {
        match self {
            Self::WholeList => Duration::from_secs(2),
            Self::Beginning => Duration::from_secs(8),
        }
    }
}

/// The identity with which a request is sent.
#[derive(Clone, Copy)]
pub enum Sender<'a> {
    /// With the provider's key, if it has one, and with all its headers.
    Own(Option<&'a Secret>, &'a SecretHeaders),
    /// With no key, and with no header that may be secret.
    Stranger,
}

/// A response, as far as it was wanted.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The time between the request and the head of the response.
    pub waited: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// The provider's `base_url` or its headers.
    #[error("its base_url or its headers make no request")]
    Unsendable,
    #[error("{} {_0}", _0.field())]
    Key(KeyFault),
    #[error("{0}")]
    Send(SendError),
    #[error("there was no answer in time")]
    Timeout,
    #[error("its answer broke off, or is too long")]
    Incomplete,
}

/// Asks the provider for what is at `path`, which follows its `base_url`.
pub async fn get(
    clients: &UpstreamClients,
    provider: &Provider,
    path: &str,
    sender: Sender<'_>,
    wanted: Wanted,
    now: DateTime<Utc>,
) -> Result<Answer, GetError> {
    let request = request(provider, path, sender, now)?;
    let client = clients.uncached_client(provider);
    let exchange = async {
        let began = Instant::now();
        let response = client.send(None, request.map(|_| RequestBody::default())).await.map_err(GetError::Send)?;
        let waited = began.elapsed();
        let (parts, body) = response.into_parts();
        let body = read(body, wanted).await?;
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, waited })
    };
    timeout(wanted.wait_max(), exchange).await.unwrap_or(Err(GetError::Timeout))
}

fn request(
    provider: &Provider,
    path: &str,
    sender: Sender<'_>,
    now: DateTime<Utc>,
) -> Result<Request<Bytes>, GetError> {
    let base_url = provider.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
    let request = Request::get([base_url, path].concat()).body(Bytes::new());
    let mut request = request.map_err(|_| GetError::Unsendable)?;
    let headers = request.headers_mut();
    for (name, value) in &provider.headers {
        if matches!(sender, Sender::Stranger) && may_be_secret(name, value) {
            continue;
        }
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or(GetError::Unsendable)?;
        headers.insert(name, value);
    }
    if let Sender::Own(_, secret_headers) = sender {
        secret_headers.put_into(headers);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("ledgerway/", env!("CARGO_PKG_VERSION"))));
    let Some(endpoint) = ProviderKind::named(&provider.kind).and_then(|kind| provider_dialects::of(kind).endpoint())
    else {
        return Ok(request);
    };
    for (name, value) in endpoint.headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    if let Sender::Own(Some(key), _) = sender {
        let (api_version, region) = (provider.api_version.as_deref(), provider.region.as_deref());
        let invocation = Invocation { model: "", streamed: false, api_version, region };
        (endpoint.authenticate)(&mut request, key, &invocation, now).map_err(GetError::Key)?;
    }
    Ok(request)
}

async fn read(mut body: ResponseBody, wanted: Wanted) -> Result<Bytes, GetError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        match (frame, wanted) {
            (Ok(frame), _) => read.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            (Err(_), Wanted::WholeList) => return Err(GetError::Incomplete),
            (Err(_), Wanted::Beginning) => break,
        }
        match wanted {
            Wanted::WholeList if read.len() > wanted.bytes_max() => return Err(GetError::Incomplete),
            Wanted::Beginning if read.len() >= wanted.bytes_max() => break,
            Wanted::WholeList | Wanted::Beginning => {}
        }
    }
    read.truncate(wanted.bytes_max());
    Ok(read.into())
}

#[cfg(test)]
mod tests {
    use events::event::admin::ProviderKindName;

    use super::*;
    use crate::secret_headers::tests::of_one;

    fn provider(kind: &'static str, base_url: &str, headers: &[(&str, &str)]) -> Provider {
        let id = format!("prv_{:032x}", 1).parse().expect("an id");
        Provider {
            base_url: Some(base_url.to_owned()),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Provider::new(id, "p", ProviderKindName::literal(kind))
        }
    }

    #[test]
    fn a_stranger_has_neither_the_key_nor_a_header_that_may_be_secret() {
        let key = Secret::new("sk-key-0123456789abcdef".to_owned());
        let given = [("openai-beta", "assistants=v2"), ("x-api-token", "tok-0123456789abcdef0123456789")];
        let provider = provider("openai", "http://a.example/v1/", &given);
        let (none, secret_headers) = (SecretHeaders::default(), of_one("Bearer gw-auth"));
        let sent = |sender| request(&provider, "/models", sender, DateTime::UNIX_EPOCH).expect("a request");
        let own = sent(Sender::Own(Some(&key), &secret_headers));
        assert_eq!(own.uri(), "http://a.example/v1/models");
        assert_eq!(own.headers()["authorization"], "Bearer sk-key-0123456789abcdef");
        assert!(own.headers().contains_key("x-api-token") && own.headers().contains_key("openai-beta"));
        assert_eq!(own.headers()["x-gateway-auth"], "Bearer gw-auth");
        let stranger = sent(Sender::Stranger);
        assert!(!stranger.headers().contains_key("authorization") && !stranger.headers().contains_key("x-api-token"));
        assert!(stranger.headers().contains_key("openai-beta") && !stranger.headers().contains_key("x-gateway-auth"));
        assert!(!sent(Sender::Own(None, &none)).headers().contains_key("authorization"));
    }

    #[test]
    fn what_makes_no_request_is_an_error() {
        let none = SecretHeaders::default();
        let bad_key = Secret::new("line\nbreak".to_owned());
        for (provider, key, wanted) in [
            (provider("openai", "http://a b/", &[]), None, GetError::Unsendable),
            (provider("openai", "http://a.example", &[("b ad", "x")]), None, GetError::Unsendable),
            (provider("openai", "http://a.example", &[]), Some(&bad_key), GetError::Key(KeyFault::NotAHeader)),
        ] {
            let made = request(&provider, "", Sender::Own(key, &none), DateTime::UNIX_EPOCH);
            assert_eq!(made.map(|_| ()), Err(wanted));
        }
    }
}
