//! The request and the response of the Responses API in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use intermediate::chat::read::{EFFORTS, OUTPUT_TOKENS_MAX, TOOLS_MAX, TOP_LOGPROBS_MAX};
use openapi::schema::{self, Shape, described as said, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::described::{drawn_freely, function, metadata};
use crate::openai::WORDING;
use crate::priceable::{TIERS, TIERS_MEANING};

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
    let off = |what: &str| said(maybe(schema::boolean()), what);
    let text = |what: &str| said(maybe(schema::string()), what);
    let include = "`message.output_text.logprobs`: the log probability of each token. `reasoning.encrypted_content` is \
                   given without being asked for";
    let include = said(maybe(schema::list(schema::string(), None)), include);
    let choice = schema::either([schema::one_of(["auto", "none", "required"]), object().open()]);
    let obfuscation = object().optional("include_obfuscation", off("Without effect"));
    drawn_freely(object())
        .required_as("model", schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway")
        .required_as("input", schema::either([schema::string(), items]), "A text, or items: the whole conversation")
        .optional("instructions", text("The first system message"))
        .optional_as(
            "max_output_tokens",
            maybe(schema::whole(1, OUTPUT_TOKENS_MAX)),
            "The output cap; the default is the target's",
        )
        .optional_as("top_logprobs", maybe(schema::whole(0, TOP_LOGPROBS_MAX)), "So many alternatives of each token")
        .optional("include", include)
        .optional_as("tools", maybe(schema::list(tool(), Some(TOOLS_MAX))), "Functions")
        .optional_as("tool_choice", maybe(choice), "A function is `{\"type\":\"function\",\"name\"}`")
        .optional("parallel_tool_calls", off("False: at most one tool call"))
        .optional_as("text", maybe(text_format()), "The format of the output")
        .optional_as("reasoning", maybe(reasoning()), "How much the model thinks")
        .optional_as("metadata", metadata(), "Kept in the event, never sent upstream")
        .optional("user", text("Your name for your own user"))
        .optional("stream", off("True: respond with server-sent events"))
        .optional_as("stream_options", maybe(obfuscation.open()), "Options of a stream")
        .optional("store", off("Only false: no response is kept"))
        .optional("background", off("Only false"))
        .optional_as("truncation", maybe(schema::one_of(["disabled"])), "Input is not shortened")
        .optional_as("service_tier", maybe(schema::one_of(TIERS)), TIERS_MEANING)
        .optional("safety_identifier", text("Without effect"))
        .optional("prompt_cache_key", text("Without effect"))
        .optional("prompt_cache_retention", text("Without effect"))
        .open()
}

fn tool() -> Shape {
    function(object().required("type", schema::one_of(["function"]))).open()
}

fn text_format() -> Shape {
    let format = object()
        .required("type", schema::one_of(["text", "json_object", "json_schema"]))
        .optional_as("name", schema::any(), "String: required for `json_schema`")
        .optional_as("schema", schema::any(), "Object: the JSON Schema, required for `json_schema`")
        .optional_as("strict", schema::any(), "Boolean: the output must satisfy the schema");
    object()
        .optional_as("format", maybe(format.open()), "The format of the output")
        .optional_as("verbosity", maybe(schema::string()), "Without effect")
        .open()
}

fn reasoning() -> Shape {
    object()
        .optional_as("effort", maybe(schema::one_of(EFFORTS)), "The reasoning effort")
        .optional_as("summary", maybe(schema::string()), "Without effect: reasoning is given as it comes")
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
