//! A provider without a network: deterministic, in process, speaking the OpenAI dialect. It serves `--dev`, tests and
//! load measurements. The backend model's name says how it behaves:
//!
//! | name    | says                                     |
//! |---------|------------------------------------------|
//! | `echo`  | the last user message                    |
//! | `lorem` | 64 tokens of Lorem ipsum                 |
//!
//! Options follow as in a URL, `echo?ttft_ms=20&pace_ms=5`:
//!
//! | option             | effect                                                                              |
//! |--------------------|-------------------------------------------------------------------------------------|
//! | `ttft_ms`          | waits before the first byte of the body (at most 600,000)                            |
//! | `pace_ms`          | waits before every further chunk of a stream (at most 60,000)                        |
//! | `output_tokens`    | says so many tokens, repeating itself or stopping early (at most 1,000,000)          |
//! | `reasoning_tokens` | thinks so many tokens first (at most 1,000,000)                                      |
//! | `input_tokens`     | reports so many prompt tokens instead of a quarter of the bytes of `messages`        |
//! | `cached_tokens`    | reports so many of them as read from a cache                                         |
//! | `no_usage=1`       | reports nothing                                                                      |
//! | `fail`             | answers this status, 400 to 599                                                      |
//! | `retry_after`      | with `fail`: seconds for `Retry-After`                                               |
//! | `fail_after`       | sends an error in band after so many chunks; a whole answer is the error alone       |
//! | `cut_after`        | drops the connection after so many chunks; a whole answer in its middle              |
//! | `silent=1`         | sends its headers and then nothing, for ever                                         |
//!
//! A token is a word with the space before it. The output cap is honoured (`finish_reason` `length`), so are `n`,
//! `stream` and `stream_options.include_usage`. A tool is called where `tool_choice` asks for one, or the last message
//! is a user's and contains the tool's name; arguments are made from the tool's schema.

mod arguments;
mod behaviour;
mod body;
mod script;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{ProviderKind, Transport, Upstream, openai};

pub use super::openai::Reader;
pub use body::SimulatedBody;

use behaviour::Behaviour;
use script::Script;

/// What `--dev` sets up.
pub const KIND: ProviderKind = ProviderKind::Simulator;

/// It speaks OpenAI's dialect, but in this process.
pub const UPSTREAM: Upstream = Upstream {
    name: "simulator",
    telemetry_name: "simulator",
    transport: Transport::InProcess(Simulator),
    ..openai::UPSTREAM
};

/// The in-process upstream. Stateless: the same question gets the same answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Simulator;

/// What an upstream's client would have received.
pub struct SimulatedAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: SimulatedBody,
}

impl Simulator {
    /// Answers a chat completion. `model` is the backend's name with its options; the one in the body is not looked
    /// at. An unknown model and a bad option are a 404, a bad body a 400.
    pub fn answer(&self, model: &str, body: &Bytes) -> SimulatedAnswer {
        let behaviour = match Behaviour::of(model) {
            Ok(behaviour) => behaviour,
            // Whoever made the target can mend its name, and not the client.
            Err(reason) => return refused(StatusCode::NOT_FOUND, &reason, None),
        };
        if behaviour.silent {
            return SimulatedAnswer {
                status: StatusCode::OK,
                headers: headers("application/json"),
                body: SimulatedBody::silent(),
            };
        }
        if let Some(status) = behaviour.fail {
            return refused(status, "the simulator was asked to fail", behaviour.retry_after_s);
        }
        match Script::of(&behaviour, body) {
            Ok(script) => {
                let content_type = if script.streamed() { "text/event-stream" } else { "application/json" };
                let body = SimulatedBody::speaking(script, &behaviour);
                SimulatedAnswer { status: StatusCode::OK, headers: headers(content_type), body }
            }
            Err(reason) => refused(StatusCode::BAD_REQUEST, reason, None),
        }
    }
}

fn headers(content_type: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (HeaderName::from_static("x-request-id"), HeaderValue::from_static("sim")),
    ])
}

fn refused(status: StatusCode, message: &str, retry_after_s: Option<u64>) -> SimulatedAnswer {
    let mut headers = headers("application/json");
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    SimulatedAnswer { status, headers, body: SimulatedBody::whole(error_body(message).into()) }
}

/// An error as OpenAI words it.
fn error_body(message: &str) -> String {
    json!({ "error": { "message": message, "type": "server_error", "param": null, "code": null } }).to_string()
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
