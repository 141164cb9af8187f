//! Asking the gateway that serves a folder, over HTTP with the operator's key.

use std::path::Path;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use secrets::{Secret, operator_key};
use serde_json::Value;
use tokio::net::TcpStream;

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A gateway that runs.
pub struct Running {
    authority: String,
    key: Secret,
}

/// Why it could not be asked, or what it refused; a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(String);

impl Running {
    /// At a URL as it stands in the lock file. The key is the variable's, or the one in the folder.
    pub fn at(url: &str, dir: &Path) -> Result<Self, Unanswered> {
        let authority = url.strip_prefix("http://").unwrap_or(url).to_owned();
        let given = std::env::var(operator_key::VARIABLE).ok().filter(|key| !key.is_empty());
        let key = match given {
            Some(key) => key,
            None => std::fs::read_to_string(dir.join(operator_key::FILE)).map_err(|error| {
                let path = dir.join(operator_key::FILE);
                let variable = operator_key::VARIABLE;
                Unanswered(format!("the operator's key is needed: set {variable}, or {}: {error}", path.display()))
            })?,
        };
        Ok(Self { authority, key: Secret::new(key.trim().to_owned()) })
    }

    /// The body of a good answer.
    pub async fn ask(&self, method: Method, path: &str) -> Result<Value, Unanswered> {
        let asked = tokio::time::timeout(ANSWER_MAX, self.exchange(method, path)).await;
        let (status, body) = asked
            .map_err(|_| Unanswered(format!("the gateway at {} did not answer in time", self.authority)))?
            .map_err(|error| Unanswered(format!("ask the gateway at {}: {error}", self.authority)))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let said = body["error"]["message"].as_str().unwrap_or("no reason");
        Err(Unanswered(format!("the gateway at {} answered {status}: {said}", self.authority)))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.key.reveal()))
            .body(Empty::<Bytes>::new())?;
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
            // With the sender goes the connection.
            Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
        };
        let (answer, _) = tokio::join!(exchange, connection);
        answer
    }
}
