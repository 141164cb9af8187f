//! The Anthropic request and response in `/openapi.json`.

use http::StatusCode;
use intermediate::chat::read::{OUTPUT_TOKENS_MAX, TOOLS_MAX, TOP_K_MAX};
use openapi::schema::{self, Fields, Shape, described as said, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;
use super::headers::{BETA, VERSION};
use crate::described::{TOP_K, TOP_P};

pub fn describe(operation: Operation, answer: fn(Shape) -> Answer) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    let example = json!({ "model": "sim-small", "max_tokens": 256, "messages": [message] });
    operation
        .says(
            "Providers of the same dialect get the body as it is, with fields that are not listed here. For other providers \
             the request is translated, and what they cannot express is refused.",
        )
        .worded(WORDING)
        .header(VERSION, schema::formed("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), "Passed on to providers of kind anthropic")
        .header(BETA, schema::prose(super::headers::BETA_BYTES_MAX), "Passed on to providers of kind anthropic")
        .takes(schema::reference("MessageRequest"), example)
        .answers(StatusCode::OK, answer(schema::reference("Message")))
        .defines("MessageRequest", request())
        .defines("Message", message_shape())
}

fn request() -> Shape {
    let user_id = said(maybe(schema::string()), "Your name for your own user; goes to the provider, not recorded");
    let budget = said(maybe(schema::whole(1, OUTPUT_TOKENS_MAX)), "The thinking budget, below `max_tokens`");
    let thinking = object()
        .required_as("type", schema::string(), "`enabled` with `budget_tokens`, `adaptive` or `disabled`")
        .optional("budget_tokens", budget);
    let format = object().required_as("type", schema::string(), "`json_schema`").optional_as(
        "schema",
        maybe(object().open()),
        "JSON Schema of the output",
    );
    let efforts = "The reasoning effort: `low`, `medium`, `high`, `xhigh` or `max`";
    let output_config = object().optional_as("effort", maybe(schema::string()), efforts).optional_as(
        "format",
        maybe(format.open()),
        "The format of the output",
    );
    let choice = object()
        .required_as("type", schema::string(), "`auto`, `any`, `none`, or `tool` with `name`")
        .optional_as("name", maybe(schema::string()), "The tool that must be called")
        .optional_as("disable_parallel_tool_use", maybe(schema::boolean()), "True: at most one tool call");
    let words = maybe(schema::list(schema::string(), None));
    prompt()
        .required_as("max_tokens", schema::whole(1, OUTPUT_TOKENS_MAX), "The output cap")
        .optional_as("stream", maybe(schema::boolean()), "True: respond with server-sent events")
        .optional_as("temperature", maybe(schema::number()), "How freely tokens are drawn, from 0 to 1")
        .optional_as("top_p", maybe(schema::number()), TOP_P)
        .optional_as("top_k", maybe(schema::whole(1, TOP_K_MAX)), TOP_K)
        .optional_as("stop_sequences", words, "The response ends before any of them. At most 16 if translated")
        .optional_as("tool_choice", maybe(choice.open()), "Whether a tool may or must be called")
        .optional_as("thinking", maybe(thinking.open()), "Whether and how much the model thinks")
        .optional_as("output_config", maybe(output_config.open()), "Reasoning effort and format of the output")
        .optional_as("metadata", maybe(object().optional("user_id", user_id).open()), "About the request")
        .optional_as("cache_control", maybe(cache_control()), "A cache breakpoint at the end of the prompt")
        .optional_as("service_tier", schema::any(), "`auto` or `standard_only`; other values change the cost")
        .optional_as(
            "context_management",
            schema::any(),
            "Object with `edits`; only those that clear earlier input have a price",
        )
        .open()
}

/// Returns the fields that a request for a message and a request to count its tokens share.
pub fn prompt() -> Fields {
    let text = object().required("type", schema::one_of(["text"])).required("text", schema::string()).optional_as(
        "cache_control",
        maybe(cache_control()),
        "A cache breakpoint",
    );
    let system = schema::either([schema::string(), schema::list(text.open(), None)]);
    object()
        .required_as("model", schema::string(), "Name of a model of the gateway")
        .required_as("messages", schema::filled_list(message(), None), "The conversation, at most 16,384 messages")
        .optional_as("system", maybe(system), "The system prompt: a text, or blocks of text")
        .optional_as("tools", maybe(schema::list(tool(), Some(TOOLS_MAX))), "Tools that the client runs")
}

fn message() -> Shape {
    let kinds =
        "`text`, `image`, `document`, `search_result`, `tool_use`, `tool_result`, `thinking` or `redacted_thinking`";
    let block = object().required_as("type", schema::string(), kinds).optional_as(
        "cache_control",
        maybe(cache_control()),
        "A cache breakpoint behind the block",
    );
    let content = schema::either([schema::string(), schema::list(block.open(), None)]);
    object()
        .required("role", schema::one_of(["user", "assistant", "system"]))
        .required_as("content", content, "A text, or blocks")
        .open()
}

fn tool() -> Shape {
    object()
        .optional_as("type", maybe(schema::string()), "Absent or `custom` for a tool of your own")
        .optional_as("name", schema::any(), "String: required for a tool of your own")
        .optional_as("description", schema::any(), "String: what the tool is for")
        .optional_as("input_schema", schema::any(), "Object: JSON Schema of the arguments")
        .optional_as("strict", schema::any(), "Boolean: the arguments must satisfy the schema")
        .optional_as("cache_control", maybe(cache_control()), "A cache breakpoint behind the tool")
        .open()
}

fn cache_control() -> Shape {
    object()
        .required_as("type", schema::string(), "`ephemeral`")
        .optional_as("ttl", maybe(schema::string()), "`5m`; a longer one has another price")
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
