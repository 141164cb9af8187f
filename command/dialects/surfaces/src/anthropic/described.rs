//! The Anthropic request and response in `/openapi.json`.

use http::StatusCode;
use intermediate::chat::read::{OUTPUT_TOKENS_MAX, TOOLS_MAX, TOP_K_MAX};
use openapi::schema::{self, Fields, Shape, described as said, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;
use super::headers::{BETA, VERSION};

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
        .required("type", said(schema::string(), "`enabled` with `budget_tokens`, `adaptive` or `disabled`"))
        .optional("budget_tokens", budget);
    let format = object()
        .required("type", said(schema::string(), "`json_schema`"))
        .optional("schema", said(maybe(object().open()), "JSON Schema of the output"));
    let efforts = "The reasoning effort: `low`, `medium`, `high`, `xhigh` or `max`";
    let output_config = object()
        .optional("effort", said(maybe(schema::string()), efforts))
        .optional("format", said(maybe(format.open()), "The format of the output"));
    let choice = object()
        .required("type", said(schema::string(), "`auto`, `any`, `none`, or `tool` with `name`"))
        .optional("name", said(maybe(schema::string()), "The tool that must be called"))
        .optional("disable_parallel_tool_use", said(maybe(schema::boolean()), "True: at most one tool call"));
    let words = maybe(schema::list(schema::string(), None));
    prompt()
        .required("max_tokens", said(schema::whole(1, OUTPUT_TOKENS_MAX), "The output cap"))
        .optional("stream", said(maybe(schema::boolean()), "True: respond with server-sent events"))
        .optional("temperature", said(maybe(schema::number()), "How freely tokens are drawn, from 0 to 1"))
        .optional(
            "top_p",
            said(
                maybe(schema::number()),
                "Tokens are drawn from the most probable ones that together have this probability",
            ),
        )
        .optional(
            "top_k",
            said(maybe(schema::whole(1, TOP_K_MAX)), "Tokens are drawn from so many of the most probable ones"),
        )
        .optional("stop_sequences", said(words, "The response ends before any of them. At most 16 if translated"))
        .optional("tool_choice", said(maybe(choice.open()), "Whether a tool may or must be called"))
        .optional("thinking", said(maybe(thinking.open()), "Whether and how much the model thinks"))
        .optional("output_config", said(maybe(output_config.open()), "Reasoning effort and format of the output"))
        .optional("metadata", said(maybe(object().optional("user_id", user_id).open()), "About the request"))
        .optional("cache_control", said(maybe(cache_control()), "A cache breakpoint at the end of the prompt"))
        .optional("service_tier", said(schema::any(), "`auto` or `standard_only`; other values change the cost"))
        .optional(
            "context_management",
            said(schema::any(), "Object with `edits`; only those that clear earlier input have a price"),
        )
        .open()
}

/// Returns the fields that a request for a message and a request to count its tokens share.
pub fn prompt() -> Fields {
    let text = object()
        .required("type", schema::one_of(["text"]))
        .required("text", schema::string())
        .optional("cache_control", said(maybe(cache_control()), "A cache breakpoint"));
    let system = schema::either([schema::string(), schema::list(text.open(), None)]);
    object()
        .required("model", said(schema::string(), "Name of a model of the gateway"))
        .required("messages", said(schema::filled_list(message(), None), "The conversation, at most 16,384 messages"))
        .optional("system", said(maybe(system), "The system prompt: a text, or blocks of text"))
        .optional("tools", said(maybe(schema::list(tool(), Some(TOOLS_MAX))), "Tools that the client runs"))
}

fn message() -> Shape {
    let kinds =
        "`text`, `image`, `document`, `search_result`, `tool_use`, `tool_result`, `thinking` or `redacted_thinking`";
    let block = object()
        .required("type", said(schema::string(), kinds))
        .optional("cache_control", said(maybe(cache_control()), "A cache breakpoint behind the block"));
    let content = schema::either([schema::string(), schema::list(block.open(), None)]);
    object()
        .required("role", schema::one_of(["user", "assistant", "system"]))
        .required("content", said(content, "A text, or blocks"))
        .open()
}

fn tool() -> Shape {
    object()
        .optional("type", said(maybe(schema::string()), "Absent or `custom` for a tool of your own"))
        .optional("name", said(schema::any(), "String: required for a tool of your own"))
        .optional("description", said(schema::any(), "String: what the tool is for"))
        .optional("input_schema", said(schema::any(), "Object: JSON Schema of the arguments"))
        .optional("strict", said(schema::any(), "Boolean: the arguments must satisfy the schema"))
        .optional("cache_control", said(maybe(cache_control()), "A cache breakpoint behind the tool"))
        .open()
}

fn cache_control() -> Shape {
    object()
        .required("type", said(schema::string(), "`ephemeral`"))
        .optional("ttl", said(maybe(schema::string()), "`5m`; a longer one has another price"))
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
