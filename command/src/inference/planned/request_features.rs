//! The features of a request that rules go by. They follow from what it says and from the time alone, in bounded time: of a long
//! message, only the beginning and the end are read, and of a long body, only what was counted anyway.

mod language;
mod request_type;

use chrono::{DateTime, Timelike, Utc};
use dialects::ClientRequest;
use dialects::chat::{Block, ChatRequest, Message, ResponseFormat, Role};
use events::routing::{RequestFeatures, RequestType, UNKNOWN_LANGUAGE};

/// The messages of a longer body are not read.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// The features of a request whose prompt has about so many tokens.
pub fn features_of(request: &ClientRequest, input_tokens: u64, now: DateTime<Utc>) -> RequestFeatures {
    let chat = if request.body().len() <= BODY_BYTES_MAX { request.chat() } else { None };
    let facts = &request.facts;
    let summary = chat
        .as_deref()
        .map_or_else(|| ChatSummary { has_tools: facts.has_tools, ..ChatSummary::default() }, ChatSummary::of);
    let request_type = summary.request_type();
    RequestFeatures {
        input_tokens,
        language: language::of(summary.text).unwrap_or(UNKNOWN_LANGUAGE).to_owned(),
        request_type,
        complexity: summary.complexity(request_type, input_tokens, facts.images.count),
        images: facts.images.count,
        documents: facts.documents.count,
        tools: summary.has_tools,
        structured_output: summary.has_structured_output,
        streaming: facts.streamed,
        hour: now.hour().into(),
    }
}

/// The features read from a chat.
#[derive(Clone, Copy, Debug, Default)]
struct ChatSummary<'a> {
    /// The first text of the last message of the user.
    text: &'a str,
    /// The answers before it.
    answers: u64,
    has_tools: bool,
    has_structured_output: bool,
    wants_reasoning: bool,
}

impl<'a> ChatSummary<'a> {
    fn of(chat: &'a ChatRequest) -> Self {
        let of = |role: Role| chat.messages.iter().filter(move |message| message.role == role);
        let text = |message: &'a Message| message.content.iter().find_map(Block::text);
        Self {
            text: of(Role::User).rev().find_map(text).unwrap_or_default(),
            answers: of(Role::Assistant).count() as u64,
            has_tools: !chat.tools.is_empty(),
            has_structured_output: !matches!(chat.response_format, None | Some(ResponseFormat::Text)),
            wants_reasoning: chat.reasoning.as_ref().is_some_and(|reasoning| reasoning.amount().is_some()),
        }
    }

    fn request_type(&self) -> RequestType {
        request_type::of(self.text).unwrap_or(match (self.wants_reasoning, self.has_structured_output) {
            (true, _) => RequestType::Reasoning,
            (false, true) => RequestType::Extraction,
            (false, false) => RequestType::Chat,
        })
    }

    /// The points that docs/routing.md lists, at most 100.
    fn complexity(&self, request_type: RequestType, input_tokens: u64, images: u64) -> u64 {
        let of_length = match input_tokens {
            0..100 => 0,
            100..500 => 10,
            500..2_000 => 20,
            2_000..8_000 => 30,
            8_000.. => 40,
        };
        let of_type = match request_type {
            RequestType::Chat => 0,
            RequestType::Extraction | RequestType::Translation | RequestType::Summary => 5,
            RequestType::Code => 20,
            RequestType::Reasoning => 30,
        };
        let where_true = |points: u64, holds: bool| if holds { points } else { 0 };
        let of_form = where_true(10, self.has_tools)
            + where_true(5, self.has_structured_output)
            + where_true(5, images > 0)
            + where_true(10, self.wants_reasoning);
        (of_length + of_type + of_form + self.answers.min(10)).min(100)
    }
}

#[cfg(test)]
mod tests;
