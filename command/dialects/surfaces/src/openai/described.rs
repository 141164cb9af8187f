//! The OpenAI request and response in `/openapi.json`.

use http::StatusCode;
use intermediate::chat::read::{CHOICES_MAX, OUTPUT_TOKENS_MAX};
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;
use crate::described::metadata;

pub fn describe(operation: Operation, answer: fn(Shape) -> Answer) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    operation
        .says(
            "A field whose description begins with its type is passed on unread to providers that speak the same dialect, \
             and so are fields that are not listed here. For other providers the request is translated, and what they \
             cannot express is refused.",
        )
        .worded(WORDING)
        .takes(schema::reference("ChatCompletionRequest"), json!({ "model": "sim-small", "messages": [message] }))
        .answers(StatusCode::OK, answer(schema::reference("ChatCompletion")))
        .defines("ChatCompletionRequest", request())
        .defines("ChatCompletion", completion())
}

/// A field that is passed on unread has no schema, so its description begins with its type.
fn request() -> Shape {
    let cap = || maybe(schema::whole(1, OUTPUT_TOKENS_MAX));
    let usage = "True: the last chunk of the stream has the usage";
    let stream_options = object().optional_as("include_usage", maybe(schema::boolean()), usage).open();
    let fields = object()
        .required_as("model", schema::string(), "Name of a model of the gateway")
        .required_as("messages", schema::filled_list(message(), None), "The conversation, at most 16,384 messages")
        .optional_as("max_completion_tokens", cap(), "The output cap; the default is the target's")
        .optional_as("max_tokens", cap(), "The older name of the output cap; only one of the two may be given")
        .optional_as("n", maybe(schema::whole(1, CHOICES_MAX)), "Number of choices; the output cap holds for each")
        .optional_as("stream", maybe(schema::boolean()), "True: respond with server-sent events")
        .optional_as("stream_options", maybe(stream_options), "Options of a stream")
        .optional_as("metadata", metadata(), "Recorded with the request, and passed on with the other fields");
    UNREAD.iter().fold(fields, |fields, (name, what)| fields.optional_as(name, schema::any(), what)).open()
}

/// Fields that are passed on unread to providers of the same dialect, and read when a request is translated.
const UNREAD: &[(&str, &str)] = &[
    ("temperature", "Number: how freely tokens are drawn"),
    ("top_p", "Number: tokens are drawn from the most probable ones that together have this probability"),
    ("top_k", "Integer: tokens are drawn from so many of the most probable ones. Not OpenAI's"),
    ("seed", "Integer: the same seed gives about the same response"),
    ("frequency_penalty", "Number: makes tokens less probable the more often they have occurred"),
    ("presence_penalty", "Number: makes tokens less probable that have occurred"),
    ("logit_bias", "Object of numbers by token id: makes single tokens more or less probable"),
    ("logprobs", "Boolean: the response has the log probability of each token"),
    ("top_logprobs", "Integer: so many alternatives of each token; requires `logprobs`"),
    ("stop", "String, or array of strings: the response ends before any of them. At most 16 if translated"),
    ("tools", "Array of `{\"type\":\"function\",\"function\":{name, description, parameters, strict}}`, at most 4,096"),
    ("tool_choice", "`auto`, `none`, `required`, or `{\"type\":\"function\",\"function\":{\"name\"}}`"),
    ("parallel_tool_calls", "Boolean: false allows at most one tool call"),
    ("response_format", "Object with `type`: `text`, `json_object`, or `json_schema` with `json_schema.schema`"),
    ("reasoning_effort", "String: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`"),
    ("reasoning", "Object with `effort`, `max_tokens` or `enabled`: OpenRouter's form of a reasoning effort"),
    ("thinking", "Object with `type` and `budget_tokens`: a thinking budget. Not OpenAI's"),
    ("user", "String: your name for your own user"),
    ("modalities", "Array: anything but `text` changes the cost"),
    ("prompt_cache_key", "String: groups requests for the provider's cache; ignored if translated"),
    ("prompt_cache_retention", "String: how long the provider caches the prompt; ignored if translated"),
    ("safety_identifier", "String: identifies your own user; ignored if translated"),
    (
        "service_tier",
        "String: other values than `auto` and `default` need a price that has the tier; these two are ignored if translated",
    ),
    ("store", "Boolean: the provider keeps the response; ignored if translated"),
    ("verbosity", "String: `low`, `medium` or `high`; ignored if translated"),
];

fn message() -> Shape {
    let part = object().required_as("type", schema::string(), "`text`, `refusal` or `image_url`");
    let part = part
        .optional_as("text", schema::any(), "String: the text of a part of type `text`")
        .optional_as("image_url", schema::any(), "Object with `url`, http(s) or `data:image/`, and `detail`")
        .open();
    let parts = schema::list(schema::either([schema::string(), part]), None);
    let content = maybe(schema::either([schema::string(), parts]));
    object()
        .optional_as("role", schema::any(), "`system`, `developer`, `user`, `assistant` or `tool`")
        .optional_as("content", content, "A text, or parts")
        .optional_as("name", schema::any(), "String: the name of a participant")
        .optional_as(
            "tool_calls",
            schema::any(),
            "Array: the calls of an assistant's message, as the response had them",
        )
        .optional_as("tool_call_id", schema::any(), "String: the call that a message of the role `tool` answers")
        .optional_as("reasoning_content", schema::any(), "String: earlier reasoning, sent back")
        .open()
}

fn completion() -> Shape {
    object().required("model", schema::string()).required("choices", schema::list(object().open(), None)).open()
}
