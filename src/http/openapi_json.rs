//! `GET /openapi.json`: the description of all routes, this one included. It is rendered for the first request, and kept as
//! the bytes of the response.

use std::error::Error;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use events::refusal::{ErrorCode, Refusal};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use openapi::schema::object;
use openapi::{Answer, Api, Described, Entrance, Operation, Route, refusals};
use tokio::sync::OnceCell;

use super::entrances::{Entrances, Protocol, Routes};
use super::unknown_path;

const PATH: &str = "/openapi.json";

/// The routes of `api`, and `/openapi.json` with their description.
///
/// Errors: as [`Entrances::of`].
pub fn published(api: Api) -> Result<Routes, matchit::InsertError> {
    let (router, mut described) = api.into_parts();
    described.routes.push(Route::new(Entrance::Open, Method::GET, PATH, operation));
    let entrances = Entrances::of(&described.routes)?;
    let document = Arc::new(Document { described, json: OnceCell::new() });
    let router = router.route(PATH, get(move || async move { answer(document).await }));
    Ok(Routes { router, entrances, unknown_path: unknown_path::refusal, protocol: Protocol::Http })
}

/// The routes of metrics, for a listener of their own, without `/openapi.json`.
pub fn metrics_alone(api: Api) -> Result<Routes, matchit::InsertError> {
    let (router, described) = api.into_parts();
    let entrances = Entrances::of(&described.routes)?;
    Ok(Routes { router, entrances, unknown_path: unknown_path::refusal_beside_metrics, protocol: Protocol::Http })
}

fn operation() -> Operation {
    Operation::new("openapi", "Description", "This document")
        .refuses(&[ErrorCode::Internal])
        .answers(StatusCode::OK, Answer::json("OpenAPI 3.1", object().open()))
}

struct Document {
    described: Described,
    json: OnceCell<Bytes>,
}

async fn answer(document: Arc<Document>) -> Response {
    match json(document).await {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write /openapi.json");
            refusals::response(Refusal::new(ErrorCode::Internal, "/openapi.json cannot be written"))
        }
    }
}

/// The document as bytes. A thread of its own renders it: that takes megabytes, which are returned when the thread ends. It
/// is rendered once, however many requests wait for it.
async fn json(document: Arc<Document>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let rendered = document.json.get_or_try_init(|| async {
        let (rendered, json) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("openapi".to_owned()).spawn({
            let document = Arc::clone(&document);
            move || rendered.send(document.rendered())
        })?;
        Ok::<_, Box<dyn Error + Send + Sync>>(Bytes::copy_from_slice(&json.await??))
    });
    Ok(rendered.await?.clone())
}

impl Document {
    fn rendered(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = self.described.json(env!("CARGO_PKG_VERSION"))?;
        json.push(b'\n');
        Ok(json)
    }
}
