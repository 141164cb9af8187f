//! The Anthropic request and response in `/openapi.json`.

use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;
use super::headers::{BETA, VERSION};

pub fn describe(operation: Operation, answer: fn(Shape) -> Answer) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    let example = json!({ "model": "sim-small", "max_tokens": 256, "messages": [message] });
    operation
        .says("Fields that are not listed here are passed on to providers that speak the same dialect.")
        .worded(WORDING)
        .header(VERSION, schema::formed("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), "Passed on to providers of kind anthropic")
        .header(BETA, schema::prose(super::headers::BETA_BYTES_MAX), "Passed on to providers of kind anthropic")
        .takes(schema::reference("MessageRequest"), example)
        .answers(StatusCode::OK, answer(schema::reference("Message")))
        .defines("MessageRequest", request())
        .defines("Message", message_shape())
}

fn request() -> Shape {
    object()
        .required("model", schema::string())
        .required("max_tokens", schema::count())
        .required("messages", schema::filled_list(object().open(), None))
        .optional("stream", schema::nullable(schema::boolean()))
        .open()
}

fn message_shape() -> Shape {
    object()
        .required("id", schema::string())
        .required("type", schema::one_of(["message"]))
        .required("role", schema::one_of(["assistant"]))
        .required("model", schema::string())
        .required("content", schema::list(object().open(), None))
        .open()
}
