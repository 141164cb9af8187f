//! Clients of four surfaces, that ask for whole answers and for streams.

use serde_json::json;
use testing::random::SplitMix64;

use crate::matrix::answer::Answer;
use crate::messages::MESSAGES;
use crate::tenant::{NATIVE, OPENAI, Tenant};

/// A client's view of one request.
#[derive(Clone, Debug)]
pub struct Answered {
    pub request: String,
    pub phase: usize,
    pub is_weighted: bool,
    pub is_streamed: bool,
    pub status: u16,
    pub text: String,
    pub end: End,
    /// The body of what is no answer.
    pub refusal: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Complete,
    /// An error after the first bytes of a stream, which is the last that came.
    Broken,
}

/// The name of a surface, and its path.
const SURFACES: [(&str, &str); 4] =
    [("native", NATIVE), ("openai", OPENAI), ("anthropic", MESSAGES), ("responses", "/v1/responses")];

/// Sends a request of a phase; its number draws the surface, and whether it is streamed.
pub async fn ask(tenant: &Tenant, model: &str, phase: usize, is_weighted: bool, number: usize) -> Answered {
    let seed = (phase as u64) << 32 | number as u64;
    let drawn = usize::try_from(SplitMix64::new(seed).next_u64() % 8).expect("an index");
    let (is_streamed, (surface, path)) = (drawn / 4 == 1, SURFACES[drawn % 4]);
    let mut body = match surface {
        "responses" => json!({ "model": tenant.model(model), "input": "hello" }),
        _ => tenant.ask(model),
    };
    if surface == "anthropic" {
        body["max_tokens"] = json!(100);
    }
    let mut answered = Answered {
        request: String::new(),
        phase,
        is_weighted,
        is_streamed,
        status: 0,
        text: String::new(),
        end: End::Complete,
        refusal: String::new(),
    };
    if !is_streamed {
        let reply = tenant.app.post(path, &body).await;
        (answered.request, answered.status) = (reply.request_id(), reply.status);
        match reply.status {
            200 => answered.text = Answer::whole(surface, &reply.json()).text,
            _ => answered.refusal = String::from_utf8_lossy(&reply.body).into_owned(),
        }
        return answered;
    }
    body["stream"] = json!(true);
    let stream = tenant.app.stream(path, &body).await.expect("a stream");
    (answered.request, answered.status) = (stream.request_id(), stream.status);
    let (events, is_proper) = stream.rest().await;
    assert!(is_proper, "{answered:?} has no end: {events:?}");
    if answered.status != 200 {
        answered.refusal = format!("{events:?}");
        return answered;
    }
    let answer = Answer::streamed(surface, &events);
    let last = events.last().expect("an event");
    let ends_in_error = last.event == "error" || last.json()["error"].is_object();
    assert_eq!(answer.error.is_some(), ends_in_error, "nothing follows an error: {events:?}");
    assert_eq!(answer.finish.is_empty(), ends_in_error, "a stream has one end: {events:?}");
    answered.text = answer.text;
    answered.end = if ends_in_error { End::Broken } else { End::Complete };
    answered
}
