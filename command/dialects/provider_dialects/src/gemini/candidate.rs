//! Reads a response of Gemini, or a chunk of one: both have the same form.

use std::borrow::Cow;
use std::hash::BuildHasher;

use intermediate::chat::{ANSWER_BLOCKS_MAX, ToolCall};
use intermediate::json::{self, Kind};
use intermediate::{FinishReason, Metered, UpstreamFault};
use rustc_hash::FxBuildHasher;

use super::logprobs;
use crate::ProviderKind;
use crate::answer_text::{bytes, name_or_empty, text_or_empty};
use crate::openai::chunk::CHOICES_MAX;

/// Characters of the response's id in the ids that are made for calls.
const RESPONSE_ID_CHARS_MAX: usize = 32;

/// A response, or a chunk of one.
pub struct Response<'a> {
    pub candidates: Vec<Candidate<'a>>,
    /// The prompt was refused, so that there are no candidates.
    pub is_blocked: bool,
}

/// One candidate, or a piece of it.
pub struct Candidate<'a> {
    /// Less than [`CHOICES_MAX`].
    pub index: u32,
    pub parts: Vec<CandidatePart<'a>>,
    /// Probabilities of the tokens, as OpenAI writes them.
    pub logprobs: Option<String>,
    pub finish: Option<FinishReason>,
}

/// One part of a candidate. Empty for what has no counterpart, such as code that Google has run.
pub struct CandidatePart<'a> {
    pub text: Cow<'a, str>,
    pub is_thought: bool,
    pub signature: Option<Cow<'a, str>>,
    pub call: Option<CandidateCall<'a>>,
}

/// A call, which always comes whole.
pub struct CandidateCall<'a> {
    id: Cow<'a, str>,
    name: Cow<'a, str>,
    arguments: &'a str,
}

impl<'a> Response<'a> {
    /// Reads a response and measures it. Errors: not JSON, an error in band, more than the bounds allow.
    pub fn read(text: &'a str, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        json::check(text)?;
        let [error, candidates, feedback, usage, model, id] = json::pick(
            in_list(text),
            ["error", "candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"],
        )?;
        let reason = feedback.and_then(|feedback| json::field(feedback, "blockReason"));
        // Before the rest: a response that cannot be read is billed too.
        if let Some(report) = usage {
            // The first chunks of a stream report the prompt alone.
            let has_output = json::find(report, ["candidatesTokenCount", "thoughtsTokenCount"]) != [None; 2];
            let is_last =
                reason.is_some() || candidates.is_some_and(|candidates| candidates.contains("\"finishReason\""));
            metered.add_report(report, has_output || is_last);
        }
        let mut read = Vec::new();
        if error.is_none() {
            for candidate in
                candidates.filter(|list| json::kind(list) == Kind::Array).into_iter().flat_map(json::elements)
            {
                if read.len() == CHOICES_MAX {
                    return Err(UpstreamFault::TooLarge);
                }
                read.push(Candidate::read(candidate?, metered)?);
            }
        }
        let is_blocked = read.is_empty() && reason.is_some();
        if let Some(error) = error {
            return Err(error_of(error, in_list(text)));
        }
        metered.keep_id_and_model(id, model);
        Ok(Self { candidates: read, is_blocked })
    }
}

/// The response itself: without `alt=sse`, and in some errors, it is the only element of a list.
fn in_list(text: &str) -> &str {
    let text = text.trim_ascii();
    match json::kind(text) {
        Kind::Array => json::elements(text).next().and_then(Result::ok).unwrap_or_default(),
        _ => text,
    }
}

/// The fault of an error in the response that has it.
pub fn error_of(error: &str, response: &str) -> UpstreamFault {
    crate::in_band(ProviderKind::Gemini, response, is_retryable(error))
}

/// True for errors of Google's own state.
fn is_retryable(error: &str) -> bool {
    let code = json::field(error, "code").and_then(json::integer);
    code.is_none_or(|code| matches!(code, 408 | 429) || !(400..500).contains(&code))
}

impl<'a> Candidate<'a> {
    fn read(candidate: &'a str, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let [index, content, logprobs, finish] =
            json::pick(candidate, ["index", "content", "logprobsResult", "finishReason"])?;
        let index = index.and_then(json::integer).unwrap_or(0);
        let index = u32::try_from(index).ok().filter(|index| (*index as usize) < CHOICES_MAX);
        let list = content.and_then(|content| json::field(content, "parts"));
        let mut parts = Vec::new();
        for part in list.filter(|list| json::kind(list) == Kind::Array).into_iter().flat_map(json::elements) {
            if parts.len() == ANSWER_BLOCKS_MAX {
                return Err(UpstreamFault::TooLarge);
            }
            parts.push(CandidatePart::read(part?, metered)?);
        }
        Ok(Self {
            index: index.ok_or(UpstreamFault::TooLarge)?,
            parts,
            logprobs: logprobs.and_then(logprobs::as_openai),
            finish: finish.and_then(finish_reason),
        })
    }
}

impl<'a> CandidatePart<'a> {
    /// Reads a part and measures it.
    fn read(part: &'a str, metered: &mut Metered) -> Result<Self, UpstreamFault> {
        let [text, thought, signature, call] =
            json::pick(part, ["text", "thought", "thoughtSignature", "functionCall"])?;
        let signature = Some(text_or_empty(signature)?).filter(|signature| !signature.is_empty());
        let part = Self {
            text: text_or_empty(text)?,
            is_thought: thought.and_then(json::boolean).unwrap_or(false),
            signature,
            call: call.map(CandidateCall::read).transpose()?,
        };
        match part.is_thought {
            true => metered.reasoning_bytes += bytes(&part.text),
            false => metered.add_text(&part.text),
        }
        if let Some(call) = &part.call {
            metered.calls_tools = true;
            metered.add_text(&call.name);
            metered.add_text(call.arguments);
        }
        Ok(part)
    }
}

impl<'a> CandidateCall<'a> {
    fn read(call: &'a str) -> Result<Self, UpstreamFault> {
        let [id, name, args] = json::pick(call, ["id", "name", "args"])?;
        let name = name_or_empty(name)?;
        if name.is_empty() {
            return Err(UpstreamFault::Malformed("a call without a name"));
        }
        let arguments = args.filter(|args| json::kind(args) == Kind::Object).unwrap_or("{}");
        Ok(Self { id: name_or_empty(id)?, name, arguments })
    }

    /// The call as the intermediate form has it. Older models give calls no ids; clients need one for each, so it is made of the
    /// response's id and the call's place. A response without an id gets one of what is called, so that the calls of a
    /// conversation differ.
    pub fn with_id(
        self,
        signature: Option<Cow<'_, str>>,
        choice: u32,
        ordinal: usize,
        response: Option<&str>,
    ) -> ToolCall {
        let id = match self.id.is_empty() {
            true => {
                let letters = response.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric);
                let mut response: String = letters.take(RESPONSE_ID_CHARS_MAX).collect();
                if response.is_empty() {
                    response = format!("{:x}", FxBuildHasher.hash_one((&self.name, self.arguments)));
                }
                format!("call_{response}_{choice}_{ordinal}")
            }
            false => self.id.into_owned(),
        };
        let (name, arguments) = (self.name.into_owned(), self.arguments.to_owned());
        ToolCall { id, name, arguments, signature: signature.map(Cow::into_owned) }
    }
}

/// The finish reason; `None` if there is none yet.
fn finish_reason(value: &str) -> Option<FinishReason> {
    Some(match &*json::string(value)? {
        "" | "FINISH_REASON_UNSPECIFIED" => return None,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MISSING_THOUGHT_SIGNATURE"
        | "MALFORMED_RESPONSE"
        | "OTHER"
        | "IMAGE_OTHER"
        | "NO_IMAGE"
        | "PUP_LIMITED_DISABLED" => FinishReason::Error,
        _ => FinishReason::Stop,
    })
}
