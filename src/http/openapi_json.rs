//! `GET /openapi.json`: what is said of all routes, this one included. Made when somebody asks for the first time, and
//! kept as the bytes that go out.

use std::error::Error;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use command::reply;
use events::refusal::{ErrorCode, Refusal};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use openapi::schema::object;
use openapi::{Answer, Api, Described, Entrance, Operation, Route};
use tokio::sync::OnceCell;

use super::entrances::{Entrances, Routes};

const PATH: &str = "/openapi.json";

/// The routes with their description among them.
///
/// Errors: as [`Entrances::of`].
pub fn published(api: Api) -> Result<Routes, matchit::InsertError> {
    let (router, mut described) = api.into_parts();
    described.routes.push(Route::new(Entrance::Open, Method::GET, PATH, itself));
    let entrances = Entrances::of(&described.routes)?;
    let document = Arc::new(Document { described, json: OnceCell::new() });
    Ok(Routes { router: router.route(PATH, get(move || async move { answer(document).await })), entrances })
}

/// Routes that are described elsewhere.
pub fn unpublished(api: Api) -> Result<Routes, matchit::InsertError> {
    let (router, described) = api.into_parts();
    Ok(Routes { router, entrances: Entrances::of(&described.routes)? })
}

fn itself() -> Operation {
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
            tracing::error!(%error, "write the description of the routes");
            reply::refused(Refusal::new(ErrorCode::Internal, "the description cannot be written"))
        }
    }
}

/// What takes megabytes for a moment is made by a thread that ends: its heap goes back with it. One at a time, however
/// many ask.
async fn json(document: Arc<Document>) -> Result<Bytes, Box<dyn Error + Send + Sync>> {
    let made = document.json.get_or_try_init(|| async {
        let (made, json) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("openapi".to_owned()).spawn({
            let document = Arc::clone(&document);
            move || made.send(document.made())
        })?;
        Ok::<_, Box<dyn Error + Send + Sync>>(Bytes::copy_from_slice(&json.await??))
    });
    Ok(made.await?.clone())
}

impl Document {
    fn made(&self) -> Result<Vec<u8>, serde_json::Error> {
        self.described.json(env!("CARGO_PKG_VERSION"))
    }
}
