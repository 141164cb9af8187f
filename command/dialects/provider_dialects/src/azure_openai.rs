//! Azure OpenAI, also the models of other makers in Microsoft Foundry. It speaks OpenAI's dialect at other paths, and
//! authenticates otherwise.
//!
//! A dated `api_version` is called at the path of the deployment, which is the target's model. Without one, or with
//! `preview`, the v1 API is called, which finds the deployment in the body. Dated versions before 2024-09-01-preview
//! refuse `stream_options`, without which a stream reports no usage.

use std::borrow::Cow;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::secret::Secret;
use http::Request;
use http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::authentication::{KeyFault, add, bearer};
use super::{EmbeddingsApi, Endpoint, Invocation, Transport, Upstream, openai};

pub use super::openai::Reader;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// The row of OpenAI, at another place.
pub const UPSTREAM: Upstream = Upstream {
    telemetry_name: "azure.ai.openai",
    transport: Transport::Http(Endpoint {
        path: |invocation| path(invocation, "/chat/completions"),
        wrong_base_url_ends: &[
            "/openai", "/openai/v1", "/openai/deployments/", "/chat/completions", "/embeddings", "/models", "/v1",
        ],
        settings: &["api_version", "output_cap_field"],
        headers: &[],
        token_exchange: None,
        authenticate,
    }),
    request_body: openai::azure_body,
    embeddings: Some(EmbeddingsApi { path: |invocation| path(invocation, "/embeddings"), ..openai::embeddings::API }),
    ..openai::UPSTREAM
};

/// All but the characters that a segment of a path needs no escape for.
const DEPLOYMENT_ESCAPES: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The path of an operation: of the deployment for a dated version, of v1 otherwise.
fn path(invocation: &Invocation<'_>, operation: &str) -> Cow<'static, str> {
    match invocation.api_version {
        None => ["/openai/v1", operation].concat().into(),
        Some(version) if version.starts_with(|first: char| first.is_ascii_digit()) => {
            let deployment = utf8_percent_encode(invocation.model, &DEPLOYMENT_ESCAPES);
            format!("/openai/deployments/{deployment}{operation}?api-version={version}").into()
        }
        // `preview`, which v1 took before it was generally available.
        Some(version) => format!("/openai/v1{operation}?api-version={version}").into(),
    }
}

fn authenticate(
    request: &mut Request<Bytes>,
    key: &Secret,
    invocation: &Invocation<'_>,
    now: DateTime<Utc>,
) -> Result<(), KeyFault> {
    match is_entra_token(key.reveal()) {
        true => bearer(request, key, invocation, now),
        false => add(request, API_KEY, key.reveal()),
    }
}

/// True for a JSON Web Token: three parts of base64url, of which the first encodes an object. Keys have no dots.
fn is_entra_token(key: &str) -> bool {
    let is_base64url = |part: &str| {
        let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        !part.is_empty() && part.bytes().all(is_of_it)
    };
    let parts = key.split('.');
    key.starts_with("eyJ") && parts.clone().count() == 3 && parts.into_iter().all(is_base64url)
}

#[cfg(test)]
mod tests {
    use intermediate::Api;

    use super::*;

    #[test]
    fn a_dated_version_is_called_at_its_deployment_and_v1_without() {
        for (model, api_version, wanted) in [
            ("gpt-4o", None, "/openai/v1/chat/completions"),
            ("gpt-4o", Some("preview"), "/openai/v1/chat/completions?api-version=preview"),
            (
                "gpt-4o.eu_2",
                Some("2024-10-21"),
                "/openai/deployments/gpt-4o.eu_2/chat/completions?api-version=2024-10-21",
            ),
            (
                "a/../b ?é",
                Some("2025-01-01-preview"),
                "/openai/deployments/a%2F..%2Fb%20%3F%C3%A9/chat/completions?api-version=2025-01-01-preview",
            ),
        ] {
            let invocation = Invocation { model, streamed: true, api_version, region: None };
            assert_eq!(UPSTREAM.path(Api::Chat, &invocation).as_deref(), Some(wanted));
            let of_embeddings = wanted.replace("/chat/completions", "/embeddings");
            assert_eq!(UPSTREAM.path(Api::Embeddings, &invocation).as_deref(), Some(&*of_embeddings));
        }
    }

    #[test]
    fn a_token_is_sent_as_bearer_and_a_key_is_not() {
        for (key, header, value) in [
            ("0123456789abcdef0123456789abcdef", "api-key", "0123456789abcdef0123456789abcdef"),
            ("eyJ0eXAi.eyJhdWQi.c2ln-_", "authorization", "Bearer eyJ0eXAi.eyJhdWQi.c2ln-_"),
            ("eyJ0eXAi.eyJhdWQi", "api-key", "eyJ0eXAi.eyJhdWQi"),
            ("eyJ0eXAi..c2ln", "api-key", "eyJ0eXAi..c2ln"),
            ("eyJ0eXAi.eyJh.c2+n", "api-key", "eyJ0eXAi.eyJh.c2+n"),
            ("sk0eXAi.eyJhdWQi.c2ln", "api-key", "sk0eXAi.eyJhdWQi.c2ln"),
        ] {
            let invocation = Invocation { model: "m", streamed: false, api_version: None, region: None };
            let mut request = Request::new(Bytes::new());
            authenticate(&mut request, &Secret::new(key.to_owned()), &invocation, DateTime::UNIX_EPOCH).expect("a key");
            let headers = request.headers();
            assert_eq!((headers.len(), headers.get(header).map(|value| value.as_bytes())), (1, Some(value.as_bytes())));
            assert!(headers.values().all(http::HeaderValue::is_sensitive));
        }
    }
}
