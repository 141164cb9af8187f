//! Reads a legacy completion request. Unknown fields are refused unless they are empty, because nothing is passed on.

use std::borrow::Cow;

use events::refusal::Refusal;
use intermediate::chat::read::{self, CHOICES_MAX, OUTPUT_TOKENS_MAX};
use intermediate::chat::{Block, ChatRequest, Message, Role};
use intermediate::facts::{Facts, RequestedCap};
use intermediate::fields::{self, Fields, Path, RefusedField};
use intermediate::json::{self, Kind};

use crate::SurfaceRequest;

const CAP_FIELD: &str = "max_tokens";
/// The cap of a request without one, as OpenAI and compatible servers have it. It counts as the client's: the
/// `default_max_output_tokens` of targets is for APIs without such a default.
pub const CAP_DEFAULT: u64 = 16;
#[rustfmt::skip]
const FIELDS: [&str; 15] = [
    "model", "prompt", CAP_FIELD, "temperature", "top_p", "n", "best_of", "stop", "stream", "stream_options",
    "frequency_penalty", "presence_penalty", "logit_bias", "seed", "user",
];
/// Fields of the API that are refused.
const REFUSED: [RefusedField; 5] = [
    RefusedField { name: "suffix", reason: "is not supported: providers of chat models do not fill in text" },
    RefusedField { name: "echo", reason: "is not supported: the prompt is not repeated" },
    RefusedField { name: "logprobs", reason: "is not supported here: POST /v1/chat/completions has logprobs" },
    RefusedField {
        name: "messages",
        reason: "is a field of Chat Completions: use prompt, or POST /v1/chat/completions",
    },
    RefusedField { name: "max_completion_tokens", reason: "is a field of Chat Completions: use max_tokens" },
];

/// A legacy completion request, fully read.
pub struct CompletionRequest(Box<ChatRequest>);

impl SurfaceRequest for CompletionRequest {
    fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        json::check(text).map_err(|fault| Path::Root.fault(fault))?;
        let mut fields = Fields::read(text, &Path::Root)?;
        fields.refuse_lost(&FIELDS, &REFUSED)?;
        let output_cap = RequestedCap {
            field: CAP_FIELD,
            tokens: Some(fields.count(CAP_FIELD, OUTPUT_TOKENS_MAX)?.unwrap_or(CAP_DEFAULT)),
        };
        let include_usage = include_usage(&mut fields)?;
        let chat = chat(&mut fields)?;
        let facts = Facts { include_usage, ..Facts::of_chat(&chat, output_cap) };
        Ok((facts, Self(Box::new(chat))))
    }

    fn chat<'a>(&'a self, _: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
        Ok(Cow::Borrowed(&self.0))
    }

    fn client_field(&self, field: &str, _: &[u8]) -> Option<String> {
        field.starts_with("messages").then(|| "prompt".to_owned())
    }
}

fn chat(fields: &mut Fields<'_, '_>) -> Result<ChatRequest, Refusal> {
    let (model, prompt) = (read::model(fields)?, prompt(fields)?);
    let choices = read::choices(fields)?;
    if fields.count("best_of", CHOICES_MAX)?.is_some_and(|best_of| best_of > choices) {
        return Err(Path::Root
            .field("best_of")
            .refuse("must not be above n: completions that are not returned cost as well"));
    }
    Ok(ChatRequest {
        model,
        messages: vec![Message { role: Role::User, content: vec![Block::Text(prompt)] }],
        sampling: read::sampling(fields)?,
        choices,
        stop: read::stop(fields)?,
        stream: fields.boolean("stream")?.unwrap_or(false),
        user: fields.string("user")?.map(Into::into),
        ..ChatRequest::default()
    })
}

/// A string, or a list of one.
fn prompt(fields: &mut Fields<'_, '_>) -> Result<String, Refusal> {
    let path = fields.path().field("prompt");
    let value = fields.raw("prompt").ok_or_else(|| path.refuse("is required"))?;
    let kind = json::kind(value);
    if kind == Kind::String {
        return Ok(fields::string(value, &path)?.into_owned());
    }
    if kind != Kind::Array {
        return Err(path.refuse("must be a string"));
    }
    let mut elements = json::elements(value);
    let first = elements.next().ok_or_else(|| path.refuse("must not be empty"))?;
    let first = first.map_err(|fault| path.fault(fault))?;
    match json::kind(first) {
        Kind::Number | Kind::Array => Err(path.refuse("must be text: tokens of one model mean nothing to another")),
        _ if elements.next().is_some() => Err(path.refuse("must be one prompt: send a request for each")),
        _ => Ok(fields::string(first, &path.element(0))?.into_owned()),
    }
}

fn include_usage(fields: &mut Fields<'_, '_>) -> Result<bool, Refusal> {
    let path = fields.path().field("stream_options");
    let Some(options) = fields.raw("stream_options") else { return Ok(false) };
    let mut options = Fields::read(options, &path)?;
    let includes = options.boolean("include_usage")?.unwrap_or(false);
    options.boolean("include_obfuscation")?;
    options.finish()?;
    Ok(includes)
}

#[cfg(test)]
mod tests {
    use events::refusal::ErrorCode;

    use super::*;

    fn read(more: &str) -> Result<(Facts, CompletionRequest), Refusal> {
        CompletionRequest::read(&format!(r#"{{"model":"m",{more}}}"#))
    }

    fn cap_tokens(facts: &Facts) -> Option<u64> {
        facts.output_cap.and_then(|cap| cap.tokens)
    }

    #[test]
    fn a_prompt_is_one_message_of_the_user() {
        for prompt in [r#""Once é""#, r#"["Once é"]"#] {
            let (facts, request) =
                read(&format!(r#""prompt":{prompt},"best_of":1,"echo":false,"suffix":"""#)).ok().unwrap();
            let [message] = &*request.0.messages else { panic!("one message") };
            assert_eq!((message.role, message.content[0].text()), (Role::User, Some("Once é")));
            assert_eq!((cap_tokens(&facts), facts.choices, facts.streamed), (Some(CAP_DEFAULT), 1, false));
        }
        let (facts, _) = read(
            r#""prompt":"x","max_tokens":7,"n":3,"best_of":3,"stream":true,"stream_options":{"include_usage":true}"#,
        )
        .ok()
        .unwrap();
        assert_eq!((cap_tokens(&facts), facts.choices), (Some(7), 3));
        assert!(facts.streamed && facts.include_usage);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_name() {
        for (more, field, says) in [
            (r#""prompt":[1,2]"#, "prompt", "must be text"),
            (r#""prompt":[[1],[2]]"#, "prompt", "must be text"),
            (r#""prompt":["a","b"]"#, "prompt", "one prompt"),
            (r#""prompt":[]"#, "prompt", "not be empty"),
            (r#""prompt":null"#, "prompt", "is required"),
            (r#""prompt":{}"#, "prompt", "must be a string"),
            (r#""prompt":"x","suffix":"y""#, "suffix", "not supported"),
            (r#""prompt":"x","echo":true"#, "echo", "not supported"),
            (r#""prompt":"x","logprobs":2"#, "logprobs", "not supported"),
            (r#""prompt":"x","logprobs":0"#, "logprobs", "not supported"),
            (r#""prompt":"x","best_of":2"#, "best_of", "above n"),
            (r#""prompt":"x","max_completion_tokens":2"#, "max_completion_tokens", "use max_tokens"),
            (r#""prompt":"x","Max_Tokens":2"#, "Max_Tokens", "max_tokens"),
            (r#""prompt":"x","top_k":2"#, "top_k", "unknown field"),
            (r#""prompt":"x","stream_options":{"include":true}"#, "stream_options.include", "unknown field"),
        ] {
            let refusal = read(more).err().expect(more);
            assert_eq!((refusal.code, refusal.details["field"].as_str()), (ErrorCode::InvalidRequest, Some(field)));
            assert!(refusal.message.contains(says), "{}", refusal.message);
        }
    }
}
