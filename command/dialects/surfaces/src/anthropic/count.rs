//! Requests to count the tokens of a prompt: `POST /v1/messages/count_tokens`.

use std::ops::Range;

use events::refusal::Refusal;
use http::StatusCode;
use intermediate::chat::read;
use intermediate::facts::{Unpriced, media_tokens_estimate};
use intermediate::fields::Path;
use intermediate::json::{self, Kind};
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};
use serde_json::json;

use super::WORDING;
use super::client::{SystemPosition, system_position, top_level};
use super::content::Totals;
use super::described::prompt;
use super::priceable::TOOLS;
use crate::TokenCounting;

pub const COUNTING: TokenCounting =
    TokenCounting { path: "/v1/messages/count_tokens", operation: "count_message_tokens", describe };

/// A request to count tokens that was read: what is edited in it, and what is in it besides text.
pub struct CountRequest {
    pub model_name: String,
    pub model: Range<usize>,
    pub system: SystemPosition,
    pub members_end: usize,
    pub has_foreign_thoughts: bool,
    pub has_unsigned_thoughts: bool,
    pub has_odd_call_ids: bool,
    pub has_billing_line: bool,
    /// Tokens of images and documents, estimated.
    pub media_tokens: u64,
    /// Bytes of base64 in the body.
    pub base64_bytes: u64,
    /// Bytes of the system prompt, the messages and the tools.
    pub prompt_bytes: u64,
    /// Fields that a request for a message may not have either.
    pub unpriced: Vec<Unpriced>,
}

impl CountRequest {
    /// Errors: those of a request for a message, which also has a cap.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let members = top_level(text)?;
        let find = |name: &str| members.iter().find(|member| member.name() == name);
        let at = |name: &'static str| Path::Root.field(name);
        let required = |name| find(name).ok_or_else(|| at(name).refuse("is required"));
        let model = required("model")?;
        let mut totals = Totals::default();
        totals.read_top(&members)?;
        if let Some(system) = find("system").filter(|member| json::kind(member.value) != Kind::Null) {
            totals.read_system(system.value)?;
        }
        totals.read_messages(required("messages")?.value)?;
        let bytes_of = |name: &str| find(name).map_or(0, |member| member.value.len() as u64);
        Ok(Self {
            model_name: read::model_name(model.value, &at("model"))?,
            model: model.value_span.clone(),
            system: find("system").map_or(SystemPosition::Absent, system_position),
            members_end: members.last().map_or(0, |member| member.span.end),
            has_foreign_thoughts: totals.has_foreign_thoughts,
            has_unsigned_thoughts: totals.has_unsigned_thoughts,
            has_odd_call_ids: totals.has_odd_call_ids,
            has_billing_line: totals.has_billing_line,
            media_tokens: media_tokens_estimate(totals.images, totals.documents),
            prompt_bytes: ["system", "messages", TOOLS].into_iter().map(bytes_of).sum(),
            base64_bytes: totals.images.base64_bytes.saturating_add(totals.documents.base64_bytes),
            unpriced: totals.unpriced,
        })
    }
}

fn describe(operation: Operation) -> Operation {
    let message = json!({ "role": "user", "content": "hello" });
    operation
        .says(
            "A provider of kind anthropic counts; for a model of another provider the answer is an estimate. Nothing is \
             charged or recorded.",
        )
        .worded(WORDING)
        .takes(schema::reference("TokenCountRequest"), json!({ "model": "sim-small", "messages": [message] }))
        .answers(StatusCode::OK, Answer::json("The tokens of the prompt", schema::reference("TokenCount")))
        .defines("TokenCountRequest", request())
        .defines("TokenCount", object().required("input_tokens", schema::count()).open())
}

fn request() -> Shape {
    let as_in_message =
        |what: &str| schema::described(schema::any(), &format!("{what}, as in a request for a message"));
    prompt()
        .optional("tool_choice", as_in_message("Object with `type`"))
        .optional("thinking", as_in_message("Object with `type` and `budget_tokens`"))
        .open()
}
