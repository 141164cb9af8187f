//! The OpenAI request and response in `/openapi.json`.

use http::StatusCode;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;

pub fn describe(operation: Operation, answer: fn(Shape) -> Answer) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    operation
        .says("Fields that are not listed here are passed on to providers that speak the same dialect.")
        .worded(WORDING)
        .takes(schema::reference("ChatCompletionRequest"), json!({ "model": "sim-small", "messages": [message] }))
        .answers(StatusCode::OK, answer(schema::reference("ChatCompletion")))
        .defines("ChatCompletionRequest", request())
        .defines("ChatCompletion", completion())
}

fn request() -> Shape {
    object()
        .required("model", schema::string())
        .required("messages", schema::filled_list(object().open(), None))
        .optional("stream", schema::nullable(schema::boolean()))
        .open()
}

fn completion() -> Shape {
    object().required("model", schema::string()).required("choices", schema::list(object().open(), None)).open()
}
