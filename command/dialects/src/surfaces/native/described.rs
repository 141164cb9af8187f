//! The native request and response in `/openapi.json`.

use events::event::admin::Model;
use http::StatusCode;
use openapi::schema::{self, Shape, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::chat::read::{
    CHOICES_MAX, EFFORTS, MESSAGES_MAX, METADATA_KEY_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_MAX, OUTPUT_TOKENS_MAX,
    STOP_MAX, TOP_K_MAX, TOP_LOGPROBS_MAX,
};

pub fn describe(operation: Operation, answered: fn(Shape) -> Answer) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    operation
        .says(
            "With `stream`, the response is server-sent events: `output.delta`, `output.tool_call`, then one `completed`, \
             which is the response without `output`, or one `error`. Events of another choice than the first have \
             `choice`, its index.",
        )
        .takes(schema::reference("ChatRequest"), json!({ "model": "sim-small", "messages": [message] }))
        .answers(StatusCode::OK, answered(schema::reference("ChatAnswer")))
        .defines("ChatRequest", request())
        .defines("ChatAnswer", answer())
}

/// The request body.
pub fn request() -> Shape {
    let count = || maybe(schema::whole(1, OUTPUT_TOKENS_MAX));
    let stop = schema::either([schema::string(), schema::list(schema::string(), Some(STOP_MAX))]);
    let value = schema::prose(METADATA_VALUE_MAX);
    let metadata = schema::map_named(METADATA_KEY_MAX, value, Some(METADATA_PAIRS_MAX));
    let kept = "Kept in the event, never sent upstream";
    object()
        .required("model", schema::described(schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway"))
        .required("messages", schema::filled_list(message(), Some(MESSAGES_MAX)))
        .optional("max_output_tokens", count())
        .optional("temperature", maybe(schema::number()))
        .optional("top_p", maybe(schema::number()))
        .optional("top_k", maybe(schema::whole(1, TOP_K_MAX)))
        .optional("seed", maybe(schema::number()))
        .optional("frequency_penalty", maybe(schema::number()))
        .optional("presence_penalty", maybe(schema::number()))
        .optional("logit_bias", schema::described(maybe(schema::map(schema::number(), None)), "By token id"))
        .optional("logprobs", maybe(schema::boolean()))
        .optional("top_logprobs", schema::described(maybe(schema::whole(0, TOP_LOGPROBS_MAX)), "Requires `logprobs`"))
        .optional(
            "n",
            schema::described(maybe(schema::whole(1, CHOICES_MAX)), "Number of choices; the cap holds for each"),
        )
        .optional("stop", maybe(stop))
        .optional("stream", schema::described(maybe(schema::boolean()), "Respond with server-sent events"))
        .optional("tools", maybe(schema::list(tool(), None)))
        .optional("tool_choice", maybe(tool_choice()))
        .optional("parallel_tool_calls", schema::described(maybe(schema::boolean()), "False: at most one call"))
        .optional("response_format", maybe(response_format()))
        .optional("reasoning", maybe(reasoning()))
        .optional("metadata", schema::described(maybe(metadata), kept))
        .optional(
            "user",
            schema::described(maybe(schema::string()), "The client's name for its own user, sent upstream"),
        )
        .closed()
}

fn message() -> Shape {
    let of = |roles: &[&'static str], content: Shape| {
        object().required("role", schema::one_of(roles.iter().copied())).required("content", content).closed()
    };
    let content = |blocks: Vec<Shape>| schema::either([schema::string(), schema::list(schema::either(blocks), None)]);
    schema::either([
        of(&["system"], content(vec![text()])),
        of(&["user"], content(vec![text(), image(), tool_result()])),
        of(&["assistant"], content(vec![text(), tool_call(), reasoning_block()])),
        of(&["tool"], schema::list(tool_result(), None)),
    ])
}

fn kind(name: &'static str) -> schema::Fields {
    object().required("type", schema::one_of([name]))
}

fn text() -> Shape {
    kind("text").required("text", schema::string()).closed()
}

fn image() -> Shape {
    let detail = || maybe(schema::string());
    let url = schema::formed("^(https?://|data:[iI][mM][aA][gG][eE]/[^;]*;base64,)");
    let by_url = kind("image").required("url", url).optional("detail", detail()).closed();
    let inline = kind("image").required("media_type", schema::formed("^[iI][mM][aA][gG][eE]/"));
    schema::either([by_url, inline.required("data", schema::string()).optional("detail", detail()).closed()])
}

fn tool_call() -> Shape {
    let call = || {
        let call = kind("tool_call").required("id", schema::string()).required("name", schema::string());
        let signature = schema::described(maybe(schema::string()), "As the response had it");
        call.optional("signature", signature)
    };
    let raw = schema::described(schema::string(), "The model's text, if it does not parse as JSON");
    schema::either([
        call().optional("arguments", schema::any()).closed(),
        call().required("arguments_raw", raw).closed(),
    ])
}

fn tool_result() -> Shape {
    let content = schema::described(schema::any(), "A text, blocks of text and images, or any JSON");
    let result = kind("tool_result").required("id", schema::string()).optional("content", content);
    result.optional("is_error", maybe(schema::boolean())).closed()
}

fn reasoning_block() -> Shape {
    let block = kind("reasoning").optional("text", maybe(schema::string()));
    block.optional("signature", maybe(schema::string())).optional("redacted", maybe(schema::string())).closed()
}

fn tool() -> Shape {
    object()
        .required("name", schema::string())
        .optional("description", maybe(schema::string()))
        .optional("parameters", schema::described(maybe(object().open()), "JSON Schema"))
        .optional("strict", maybe(schema::boolean()))
        .closed()
}

fn tool_choice() -> Shape {
    let named = object().required("name", schema::string()).closed();
    schema::either([schema::one_of(["auto", "none", "required"]), named])
}

fn response_format() -> Shape {
    let json_schema = object()
        .required("schema", object().open())
        .optional("name", maybe(schema::string()))
        .optional("description", schema::any())
        .optional("strict", maybe(schema::boolean()))
        .closed();
    schema::either([
        object().required("type", schema::one_of(["text", "json_object"])).closed(),
        kind("json_schema").required("json_schema", json_schema).closed(),
    ])
}

fn reasoning() -> Shape {
    schema::either([
        object().required("effort", schema::one_of(EFFORTS)).closed(),
        object().required("budget_tokens", schema::whole(1, OUTPUT_TOKENS_MAX)).closed(),
    ])
}

/// The whole response.
fn answer() -> Shape {
    let backend = object().required("provider", schema::string()).required("model", schema::string());
    let ledger = object()
        .required("admitted_position", schema::count())
        .required("settled_position", schema::count())
        .required("held_usd", schema::money());
    let finish = || schema::one_of(["stop", "length", "tool_calls", "content_filter", "cancelled", "error"]);
    let logprobs = || schema::described(object().open(), "Probabilities of the tokens, as OpenAI writes them");
    let choice = object()
        .required("output", schema::list(output(), None))
        .required("finish_reason", maybe(finish()))
        .optional("logprobs", logprobs())
        .open();
    object()
        .required("request_id", schema::id("req_"))
        .required("model", schema::string())
        .required("backend", backend.open())
        .required("output", schema::list(output(), None))
        .required("finish_reason", finish())
        .optional("logprobs", logprobs())
        .optional("choices", schema::described(schema::list(choice, None), "All of them, if `n` asked for several"))
        .required("usage", usage())
        .required("cost_usd", schema::money())
        .required("price_version", schema::described(schema::count(), "A log position"))
        .required("ledger", ledger.open())
        .open()
}

fn output() -> Shape {
    let call = kind("tool_call").required("id", schema::string()).required("name", schema::string());
    let thought = kind("reasoning").required("text", schema::string());
    schema::either([
        kind("text").required("text", schema::string()).open(),
        call.required("arguments", schema::any())
            .optional("arguments_raw", schema::string())
            .optional("signature", schema::string())
            .open(),
        thought.optional("signature", schema::string()).optional("redacted", schema::string()).open(),
    ])
}

/// Disjoint token classes: their sum is everything that was billed.
fn usage() -> Shape {
    object()
        .required("input_uncached_tokens", schema::count())
        .required("input_cache_read_tokens", schema::count())
        .required("input_cache_write_tokens", schema::count())
        .optional("input_cache_write_by_ttl", schema::map(schema::count(), None))
        .required("output_text_tokens", schema::count())
        .required("output_reasoning_tokens", schema::count())
        .required("source", schema::one_of(["provider", "counted", "unknown"]))
        .open()
}
