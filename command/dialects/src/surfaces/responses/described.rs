//! The request and the response of the Responses API in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::chat::read::{
    EFFORTS, METADATA_KEY_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_MAX, OUTPUT_TOKENS_MAX, TOOLS_MAX, TOP_LOGPROBS_MAX,
};
use crate::surfaces::openai::WORDING;

pub fn describe(operation: Operation, answered: fn(Shape) -> Answer) -> Operation {
    operation
        .says(
            "Stateless: no response is kept, so `store: true`, `previous_response_id`, `conversation`, `background` and \
             references to items are refused. Tools are functions. Unknown fields are refused unless they are empty. With \
             `stream`, the response is server-sent events, numbered by `sequence_number`, and the last one is \
             `response.completed`, `response.incomplete`, `response.failed` or `error`.",
        )
        .worded(WORDING)
        .takes(schema::reference("ResponseRequest"), json!({ "model": "sim-small", "input": "hello" }))
        .answers(StatusCode::OK, answered(schema::reference("Response")))
        .defines("ResponseRequest", request())
        .defines("Response", response())
}

fn request() -> Shape {
    let items = schema::filled_list(object().open(), None);
    let value = schema::prose(METADATA_VALUE_MAX);
    let metadata = schema::map_named(METADATA_KEY_MAX, value, Some(METADATA_PAIRS_MAX));
    let tool = object().required("type", schema::one_of(["function"])).required("name", schema::string()).open();
    let reasoning = object().optional("effort", maybe(schema::one_of(EFFORTS))).open();
    object()
        .required("model", schema::described(schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway"))
        .required("input", schema::described(schema::either([schema::string(), items]), "A text, or items"))
        .optional("instructions", maybe(schema::string()))
        .optional("max_output_tokens", maybe(schema::whole(1, OUTPUT_TOKENS_MAX)))
        .optional("temperature", maybe(schema::number()))
        .optional("top_p", maybe(schema::number()))
        .optional("top_logprobs", maybe(schema::whole(0, TOP_LOGPROBS_MAX)))
        .optional("include", maybe(schema::list(schema::string(), None)))
        .optional("tools", maybe(schema::list(tool, Some(TOOLS_MAX))))
        .optional("tool_choice", maybe(schema::either([schema::one_of(["auto", "none", "required"]), object().open()])))
        .optional("parallel_tool_calls", maybe(schema::boolean()))
        .optional("text", maybe(object().open()))
        .optional("reasoning", maybe(reasoning))
        .optional("metadata", schema::described(maybe(metadata), "Kept in the event, never sent upstream"))
        .optional("user", maybe(schema::string()))
        .optional("stream", maybe(schema::boolean()))
        .open()
}

fn response() -> Shape {
    object()
        .required("id", schema::id("resp_"))
        .required("object", schema::one_of(["response"]))
        .required("model", schema::string())
        .required("status", schema::one_of(["completed", "incomplete", "failed"]))
        .required("output", schema::list(object().open(), None))
        .required("usage", object().open())
        .open()
}
