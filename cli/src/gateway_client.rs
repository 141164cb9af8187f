//! The client of a running gateway, for commands that the gateway has to carry out itself. It uses no proxy and follows no
//! redirect, so that the key goes to the gateway alone.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::Permission;
use http::Method;
use http::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use secrets::Secret;
use serde_json::Value;

/// Time limit for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Sends requests to one gateway. Cheap to clone.
#[derive(Clone)]
pub struct GatewayClient {
    http: Client,
    /// Without a slash at its end.
    url: String,
    /// `None` for what needs no key.
    key: Option<Secret>,
    response_timeout: Duration,
    /// Answers the requests in place of the network.
    own_routes: Option<OwnRoutes>,
}

/// The routes of the gateway that this process is: no request to them needs a socket.
pub type OwnRoutes = Arc<dyn Fn(http::Request<Vec<u8>>) -> OwnResponse + Send + Sync>;
pub type OwnResponse = Pin<Box<dyn Future<Output = http::Response<Vec<u8>>> + Send>>;

/// A request failed or was refused; a sentence.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("cannot prepare HTTP: {0}")]
    NotPrepared(String),
    #[error("cannot reach the gateway at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the gateway at {url} did not respond in time")]
    TimedOut { url: String },
    #[error("the gateway at {url} responded with {}: {}", refused.status, refused.message())]
    Refused { url: String, refused: Refused },
}

/// A response that is not a success.
#[derive(Debug)]
pub struct Refused {
    pub status: u16,
    /// The member `error` of its body; null if it has none, as from a server that is no gateway.
    pub error: Value,
}

impl GatewayError {
    /// True if the same command could succeed if it is sent again: it may not have arrived, or the gateway could not carry it out.
    pub const fn may_be_retried(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Refused { refused, .. } => refused.status >= 500,
            Self::NotPrepared(_) => false,
        }
    }

    pub const fn refused(&self) -> Option<&Refused> {
        if let Self::Refused { refused, .. } = self { Some(refused) } else { None }
    }

    /// True if the command has certainly changed nothing.
    pub fn changed_nothing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => false,
            Self::Refused { refused, .. } => refused.status < 500 || refused.error["details"]["recorded"] == "no",
            Self::NotPrepared(_) => true,
        }
    }
}

impl Refused {
    /// Reads the body of a refusal.
    pub fn of(status: u16, body: &[u8]) -> Self {
        let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
        Self { status, error: body["error"].take() }
    }

    pub fn message(&self) -> &str {
        self.error["message"].as_str().unwrap_or("no reason given")
    }

    /// Empty if it has none.
    pub fn code(&self) -> &str {
        self.error["code"].as_str().unwrap_or_default()
    }
}

impl GatewayClient {
    pub fn new(url: &str, key: Option<Secret>) -> Result<Self, GatewayError> {
        let tls = provider_client::tls_config().map_err(|error| GatewayError::NotPrepared(error.to_string()))?;
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .map_err(|error| GatewayError::NotPrepared(cause(&error)))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, url, key, response_timeout: RESPONSE_TIMEOUT, own_routes: None })
    }

    /// The key that its requests have.
    pub const fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// With another time limit for one response.
    pub fn waiting(self, response_timeout: Duration) -> Self {
        Self { response_timeout, ..self }
    }

    /// Through the routes of this process.
    pub fn through(self, routes: OwnRoutes) -> Self {
        Self { own_routes: Some(routes), ..self }
    }

    /// Sends a request and returns the body of a successful response.
    pub async fn request(&self, method: Method, path: &str) -> Result<Value, GatewayError> {
        self.answer(self.prepared(method, path, None)).await
    }

    /// Posts a JSON document and returns the body of a successful response.
    pub async fn post_document(&self, path: &str, document: String) -> Result<Value, GatewayError> {
        self.answer(self.prepared(Method::POST, path, Some(document))).await
    }

    /// Sends a command with an `Idempotency-Key`, so that it may be sent again, and returns the body of a successful response.
    pub async fn command(
        &self,
        method: Method,
        path: &str,
        document: Option<String>,
        idempotency_key: &str,
    ) -> Result<Value, GatewayError> {
        let request = self.prepared(method, path, document).header(IDEMPOTENCY_KEY, idempotency_key);
        self.answer(request).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, GatewayError> {
        let exchange = async {
            let response = self.response(request).await.map_err(|error| self.unreachable(&error))?;
            let status = response.status();
            let body = self.body(response).await?;
            match status.is_success() {
                true => Ok(serde_json::from_slice(&body).unwrap_or_default()),
                false => Err(self.refused(Refused::of(status.as_u16(), &body))),
            }
        };
        tokio::time::timeout(self.response_timeout, exchange).await.map_err(|_| self.timed_out())?
    }

    /// Sends a request, with a body if there is one, and returns the response as soon as its head is complete.
    pub async fn send(&self, method: Method, path: &str, body: Option<String>) -> Result<Response, GatewayError> {
        self.response(self.prepared(method, path, body)).await.map_err(|error| self.unreachable(&error))
    }

    async fn response(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        let Some(routes) = &self.own_routes else { return request.send().await };
        let request = http::Request::try_from(request.build()?)?;
        let request = request.map(|body| body.as_bytes().unwrap_or_default().to_vec());
        Ok(routes(request).await.into())
    }

    fn prepared(&self, method: Method, path: &str, body: Option<String>) -> RequestBuilder {
        let request = self.http.request(method, [&self.url, path].concat());
        let request = match &self.key {
            Some(key) => request.bearer_auth(key.reveal()),
            None => request,
        };
        match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body),
            None => request,
        }
    }

    /// The whole body of a response, if it is not longer than any of a gateway.
    pub async fn body(&self, mut response: Response) -> Result<Vec<u8>, GatewayError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > RESPONSE_BYTES_MAX {
                return Err(self.unexpected("its response is too long"));
            }
        }
        Ok(body)
    }

    pub fn refused(&self, refused: Refused) -> GatewayError {
        GatewayError::Refused { url: self.url.clone(), refused }
    }

    pub fn timed_out(&self) -> GatewayError {
        GatewayError::TimedOut { url: self.url.clone() }
    }

    pub fn unexpected(&self, reason: &str) -> GatewayError {
        GatewayError::Unreachable { url: self.url.clone(), reason: reason.to_owned() }
    }

    pub fn unreachable(&self, error: &reqwest::Error) -> GatewayError {
        GatewayError::Unreachable { url: self.url.clone(), reason: cause(error) }
    }
}

/// Whether a caller, as `GET /v1/me` shows it, has a permission.
pub fn has_permission(caller: &Value, permission: Permission) -> bool {
    caller["permissions"].as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some(permission.as_str())))
}

/// The innermost reason of an error: the outer ones repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
