//! The simulator: a deterministic in-process provider that speaks the OpenAI dialect, for `--dev`, tests and load
//! tests. The name of the backend model sets its behaviour:
//!
//! | name    | output                                   |
//! |---------|------------------------------------------|
//! | `echo`  | the last user message                    |
//! | `lorem` | 64 tokens of Lorem ipsum                 |
//!
//! Options follow as in a URL: `echo?ttft_ms=20&pace_ms=5`.
//!
//! | option             | effect                                                                              |
//! |--------------------|-------------------------------------------------------------------------------------|
//! | `ttft_ms`          | wait before the first byte of the body (at most 600,000)                            |
//! | `pace_ms`          | wait before every further chunk of a stream (at most 60,000)                        |
//! | `output_tokens`    | length of the output, repeated or truncated to it (at most 1,000,000)               |
//! | `reasoning_tokens` | length of the reasoning before the output (at most 1,000,000)                       |
//! | `input_tokens`     | reported prompt tokens; default: a quarter of the bytes of `messages`               |
//! | `cached_tokens`    | reported prompt tokens that were read from a cache                                  |
//! | `no_usage=1`       | no usage report                                                                     |
//! | `fail`             | responds with this status, 400 to 599                                               |
//! | `retry_after`      | with `fail`: seconds in `Retry-After`                                               |
//! | `fail_after`       | error in band after so many chunks; a whole response is only the error              |
//! | `cut_after`        | connection dropped after so many chunks; a whole response in its middle             |
//! | `silent=1`         | headers, and then nothing for ever                                                  |
//!
//! A token is a word with the space before it. The simulator honours the output cap (`finish_reason` `length`), `n`,
//! `stream` and `stream_options.include_usage`. It calls a tool if `tool_choice` requires one, or if the last message
//! is a user's and contains the tool's name; it makes the arguments from the tool's schema.
//!
//! It gives embeddings under every name of a model. A text's vector counts its words: each word adds 1 or -1 to the
//! place that its hash chooses, and the whole has length 1. So texts that share words are near each other. Vectors have
//! 64 numbers, or as many as `dimensions` says, at most 4,096, and a million in all. `echo?fail=429` and the like apply, as
//! do `ttft_ms`, `input_tokens`, `no_usage`, `fail_after` and `cut_after`.

mod arguments;
mod behaviour;
mod body;
mod embeddings;
mod script;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{ProviderKind, Transport, Upstream, openai};

pub use super::openai::Reader;
pub use body::SimulatedBody;

use behaviour::Behaviour;
use body::BodyContent;
use script::Script;

/// The kind of provider that `--dev` creates.
pub const KIND: ProviderKind = ProviderKind::Simulator;

/// The row of OpenAI, but in this process.
pub const UPSTREAM: Upstream =
    Upstream { telemetry_name: "simulator", transport: Transport::InProcess(respond), ..openai::UPSTREAM };

/// A response of the simulator.
pub struct SimulatedAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: SimulatedBody,
}

/// Errors: what is wrong with the name of a model, or with its options.
pub fn check_model(model: &str) -> Result<(), String> {
    Behaviour::of(model).map(|_| ())
}

/// The response to a chat completion, or to a request for embeddings: the same for the same request, except that each process makes its
/// own ids. `model` is the backend model with its options; the one in the body is ignored. An unknown model or a bad option is a 404, a
/// bad body a 400.
pub fn respond(model: &str, body: &Bytes) -> SimulatedAnswer {
    let behaviour = match Behaviour::of(model) {
        Ok(behaviour) => behaviour,
        // 404, because the operator must fix the target's model, and not the client its request.
        Err(reason) => return refused(StatusCode::NOT_FOUND, &reason, None),
    };
    if behaviour.silent {
        return answered("application/json", SimulatedBody::of(BodyContent::Silent));
    }
    if let Some(status) = behaviour.fail {
        return refused(status, "a simulated failure", behaviour.retry_after_s);
    }
    if let Some(text) = embeddings::answer(&behaviour, body) {
        return match text {
            Ok(text) => answered("application/json", SimulatedBody::whole(text, &behaviour)),
            Err(reason) => refused(StatusCode::BAD_REQUEST, reason, None),
        };
    }
    match Script::of(&behaviour, body) {
        Ok(script) => {
            let content_type = if script.streamed { "text/event-stream" } else { "application/json" };
            answered(content_type, SimulatedBody::scripted(script, &behaviour))
        }
        Err(reason) => refused(StatusCode::BAD_REQUEST, reason, None),
    }
}

fn answered(content_type: &'static str, body: SimulatedBody) -> SimulatedAnswer {
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (HeaderName::from_static("x-request-id"), HeaderValue::from_static("sim")),
    ]);
    SimulatedAnswer { status: StatusCode::OK, headers, body }
}

fn refused(status: StatusCode, message: &str, retry_after_s: Option<u64>) -> SimulatedAnswer {
    let mut answer = answered("application/json", SimulatedBody::of(BodyContent::Whole(error_body(message).into())));
    if let Some(seconds) = retry_after_s {
        answer.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    SimulatedAnswer { status, ..answer }
}

/// An error in OpenAI's format.
fn error_body(message: &str) -> String {
    json!({ "error": { "message": message, "type": "server_error", "param": null, "code": null } }).to_string()
}
