//! `GET /openapi.json`: what is said of all routes, this one included. Made when somebody asks for the first time, and
//! kept as the bytes that go out.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use command::reply;
use events::wire::{ErrorCode, Refusal};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use openapi::schema::object;
use openapi::{Answer, Api, Described, Operation, Route};

const PATH: &str = "/openapi.json";

/// The routes with their description among them.
pub fn published(api: Api) -> Router {
    let (router, mut described) = api.into_parts();
    described.routes.push(Route::new(Method::GET, PATH, itself));
    let document = Arc::new(Document { described, json: OnceLock::new() });
    router.route(PATH, get(move || async move { document.answer() }))
}

fn itself() -> Operation {
    Operation::new("openapi", "Description", "This document")
        .open()
        .refuses(&[ErrorCode::Internal])
        .answers(StatusCode::OK, Answer::json("OpenAPI 3.1", object().open()))
}

struct Document {
    described: Described,
    json: OnceLock<Bytes>,
}

impl Document {
    fn answer(&self) -> Response {
        match self.json() {
            Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => {
                tracing::error!(%error, "write the description of the routes");
                reply::refused(Refusal::new(ErrorCode::Internal, "the description cannot be written"))
            }
        }
    }

    fn json(&self) -> Result<Bytes, serde_json::Error> {
        if let Some(json) = self.json.get() {
            return Ok(json.clone());
        }
        let json = Bytes::from(self.described.json(env!("CARGO_PKG_VERSION"))?);
        Ok(self.json.get_or_init(|| json).clone())
    }
}
