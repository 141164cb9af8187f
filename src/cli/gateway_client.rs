//! The client of a running gateway: HTTP with the operator's key, for commands that the gateway has to carry out itself.

use std::path::Path;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use secrets::{Secret, operator_key};
use serde_json::Value;
use tokio::net::TcpStream;

/// Time limit for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// The same for a document, from which the gateway may record thousands of changes.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(120);
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;

/// Sends requests to the gateway that serves a folder.
pub struct GatewayClient {
    authority: String,
    key: Secret,
}

/// A request failed or was refused; a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GatewayError(String);

impl GatewayClient {
    /// A client of the gateway at `url`, as the lock file has it. The key is the variable's, else the one in the folder.
    pub fn new(url: &str, dir: &Path) -> Result<Self, GatewayError> {
        let authority = url.strip_prefix("http://").unwrap_or(url).to_owned();
        let given = std::env::var(operator_key::VARIABLE).ok().filter(|key| !key.is_empty());
        let path = dir.join(operator_key::FILE);
        let unreadable = |error| {
            let (path, variable) = (path.display(), operator_key::VARIABLE);
            GatewayError(format!("cannot read the operator's key from {path}: {error}; or set {variable}"))
        };
        let key = given.map_or_else(|| std::fs::read_to_string(&path).map_err(unreadable), Ok)?;
        Ok(Self { authority, key: Secret::new(key.trim().to_owned()) })
    }

    /// Sends a request and returns the body of a successful response.
    pub async fn request(&self, method: Method, path: &str) -> Result<Value, GatewayError> {
        self.respond(RESPONSE_TIMEOUT, self.send(method, path, String::new())).await
    }

    /// Posts a JSON document and returns the body of a successful response.
    pub async fn post_document(&self, path: &str, document: String) -> Result<Value, GatewayError> {
        self.respond(DOCUMENT_TIMEOUT, self.send(Method::POST, path, document)).await
    }

    async fn respond(
        &self,
        max: Duration,
        response: impl Future<Output = Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>>>,
    ) -> Result<Value, GatewayError> {
        let sent = tokio::time::timeout(max, response).await;
        let (status, body) = sent
            .map_err(|_| GatewayError(format!("the gateway at {} did not respond in time", self.authority)))?
            .map_err(|error| GatewayError(format!("cannot reach the gateway at {}: {error}", self.authority)))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let message = body["error"]["message"].as_str().unwrap_or("no reason given");
        Err(GatewayError(format!("the gateway at {} responded with {status}: {message}", self.authority)))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.key.reveal()));
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX).collect().await?.to_bytes();
            // Dropping the sender ends the connection.
            Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        let (response, _) = tokio::join!(exchange, connection);
        response
    }
}
