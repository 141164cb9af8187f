//! The native request and response in `/openapi.json`.

use events::event::admin::Model;
use events::terms::Region;
use events::usage::{ServiceTier, TokenClasses};
use http::StatusCode;
use intermediate::chat::read::{CHOICES_MAX, EFFORTS, MESSAGES_MAX, OUTPUT_TOKENS_MAX, TOP_K_MAX, TOP_LOGPROBS_MAX};
use openapi::schema::{self, Shape, described as said, nullable as maybe, object};
use openapi::{Answer, Operation};
use serde_json::json;

use crate::described::{TOP_K, drawn_freely, function, metadata, stop, weighted};
use crate::priceable::{TIERS, TIERS_MEANING};

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
    weighted(drawn_freely(object()))
        .required_as("model", schema::sized(1, Model::NAME_CHARS_MAX), "Name of a model of the gateway")
        .required_as("messages", schema::filled_list(message(), Some(MESSAGES_MAX)), "The conversation")
        .optional_as("max_output_tokens", count(), "The output cap; the default is the target's")
        .optional_as("top_k", maybe(schema::whole(1, TOP_K_MAX)), TOP_K)
        .optional_as("seed", maybe(schema::number()), "The same seed gives about the same response")
        .optional_as("logprobs", maybe(schema::boolean()), "The response has the log probability of each token")
        .optional_as(
            "top_logprobs",
            maybe(schema::whole(0, TOP_LOGPROBS_MAX)),
            "So many alternatives of each token; requires `logprobs`",
        )
        .optional_as("n", maybe(schema::whole(1, CHOICES_MAX)), "Number of choices; the cap holds for each")
        .optional_as("stop", stop(), "The response ends before any of them")
        .optional_as("stream", maybe(schema::boolean()), "Respond with server-sent events")
        .optional_as("tools", maybe(schema::list(tool(), None)), "Functions that the client runs")
        .optional_as("tool_choice", maybe(tool_choice()), "Whether a tool may or must be called")
        .optional_as("parallel_tool_calls", maybe(schema::boolean()), "False: at most one call")
        .optional_as("response_format", maybe(response_format()), "The format of the output")
        .optional_as("reasoning", maybe(reasoning()), "How much the model thinks")
        .optional_as("metadata", metadata(), "Kept in the event, never sent upstream")
        .optional_as("user", maybe(schema::string()), "The client's name for its own user, sent upstream")
        .optional_as("service_tier", maybe(schema::one_of(TIERS)), TIERS_MEANING)
        .optional_as("terms", maybe(terms()), "What the request requires of each target, besides what its tenant does")
        .closed()
}

fn terms() -> Shape {
    let region = schema::formed_within(Region::LEN_MAX, Region::FORM);
    object()
        .optional_as("residency", maybe(region), "The region that the target must be in, such as eu")
        .optional_as("zero_retention", maybe(schema::boolean()), "True: the provider must keep nothing")
        .optional_as("training", maybe(schema::boolean()), "False: the provider must not train on it")
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
    kind("text").required_as("text", schema::string(), "The text").closed()
}

fn image() -> Shape {
    let detail = || said(maybe(schema::string()), "The resolution: `low`, `high` or `auto`");
    let url = schema::formed("^(https?://|data:[iI][mM][aA][gG][eE]/[^;]*;base64,)");
    let by_url = kind("image")
        .required_as("url", url, "An http, https or base64 `data:image/` URL")
        .optional("detail", detail())
        .closed();
    let media_type = said(schema::formed("^[iI][mM][aA][gG][eE]/"), "Such as `image/png`");
    let inline = kind("image").required("media_type", media_type);
    schema::either([
        by_url,
        inline.required_as("data", schema::string(), "The image in base64").optional("detail", detail()).closed(),
    ])
}

fn tool_call() -> Shape {
    let call = || {
        let call = kind("tool_call").required_as("id", schema::string(), "As the response had it");
        let call = call.required_as("name", schema::string(), "Name of the tool");
        let signature = said(maybe(schema::string()), "As the response had it");
        call.optional("signature", signature)
    };
    let raw = said(schema::string(), "The model's text, if it does not parse as JSON");
    schema::either([
        call().optional_as("arguments", schema::any(), "The arguments, as the response had them").closed(),
        call().required("arguments_raw", raw).closed(),
    ])
}

fn tool_result() -> Shape {
    let content = said(schema::any(), "A text, blocks of text and images, or any JSON");
    let id = said(schema::string(), "Id of the call");
    let result = kind("tool_result").required("id", id).optional("content", content);
    result.optional_as("is_error", maybe(schema::boolean()), "The tool has failed").closed()
}

fn reasoning_block() -> Shape {
    let member = |what: &str| said(maybe(schema::string()), what);
    let block = kind("reasoning").optional("text", member("The thoughts"));
    let block = block.optional("signature", member("The provider's proof, as the response had it"));
    block.optional("redacted", member("Encrypted thoughts, as the response had them")).closed()
}

fn tool() -> Shape {
    function(object()).closed()
}

fn tool_choice() -> Shape {
    let named = object().required_as("name", schema::string(), "The tool that must be called").closed();
    schema::either([schema::one_of(["auto", "none", "required"]), named])
}

fn response_format() -> Shape {
    let json_schema = object()
        .required_as("schema", object().open(), "The JSON Schema")
        .optional_as("name", maybe(schema::string()), "Name of the schema")
        .optional_as("description", schema::any(), "String: what the output is for")
        .optional_as("strict", maybe(schema::boolean()), "True: the output must satisfy the schema")
        .closed();
    schema::either([
        object().required("type", schema::one_of(["text", "json_object"])).closed(),
        kind("json_schema").required("json_schema", json_schema).closed(),
    ])
}

fn reasoning() -> Shape {
    schema::either([
        object().required_as("effort", schema::one_of(EFFORTS), "The reasoning effort").closed(),
        object().required_as("budget_tokens", schema::whole(1, OUTPUT_TOKENS_MAX), "The thinking budget").closed(),
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
    let logprobs = || said(object().open(), "Probabilities of the tokens, as OpenAI writes them");
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
        .optional_as("choices", schema::list(choice, None), "All of them, if `n` asked for several")
        .required("usage", usage())
        .required("cost_usd", schema::money())
        .required_as("price_version", schema::count(), "A log position")
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

/// The classes that every usage has.
const ALWAYS: [&str; 5] = [
    "input_uncached_tokens", "input_cache_read_tokens", "input_cache_write_tokens", "output_text_tokens",
    "output_reasoning_tokens",
];

/// Disjoint token classes, whose sum is everything that was billed by the token, and the units beside them.
fn usage() -> Shape {
    let always = ALWAYS.into_iter().fold(object(), |usage, name| usage.required(name, schema::count()));
    let rarely = TokenClasses::NAMES.into_iter().filter(|name| !ALWAYS.contains(name));
    let meaning = "Absent if there is none";
    rarely
        .fold(always, |usage, name| usage.optional_as(name, schema::count(), meaning))
        .optional("input_cache_write_by_ttl", schema::map(schema::count(), None))
        .optional("service_tier", schema::one_of_names(ServiceTier::NAMED))
        .required("source", schema::one_of(["provider", "counted", "unknown"]))
        .open()
}
