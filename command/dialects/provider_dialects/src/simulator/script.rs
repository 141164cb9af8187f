//! The script of a simulated response, computed before it begins: its steps, finish reason and usage.

use std::sync::LazyLock;

use bytes::Bytes;
use events::ids::{Random, SystemRandom};
use intermediate::json;
use ring::hmac;
use serde_json::{Value, json};

use super::arguments;
use super::behaviour::{Behaviour, Voice};

/// The output cap of a request without one.
const CAP_DEFAULT: u64 = 4096;
const CHOICES_MAX: u64 = 128;
/// The most text of a whole response, which is made at once in memory. The gateway takes no larger one.
const WHOLE_BYTES_MAX: u64 = 32 * 1024 * 1024;
const LOREM_TOKENS: u64 = 64;
const LOREM: &str = "Lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore \
                     et dolore magna aliqua";
/// The simulator has no clock: every response is dated 1 January 2025.
const CREATED_UNIX_S: i64 = 1_735_689_600;
/// The fields of a request that the simulator reads.
const READ: [&str; 9] = [
    "model", "messages", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options", "tools", "tool_choice",
];
const CALL_ID: &str = "call_sim_0";

/// One scripted response.
pub struct Script {
    id: String,
    model: String,
    pub streamed: bool,
    include_usage: bool,
    choices: u64,
    reasoning_tokens: u64,
    /// Words of the reasoning.
    reasoning_words: Vec<String>,
    output: ScriptedOutput,
    finish_reason: &'static str,
    usage: Option<Value>,
}

enum ScriptedOutput {
    /// So many tokens from these words, which are repeated.
    Text {
        words: Vec<String>,
        tokens: u64,
    },
    Call {
        name: String,
        pieces: Vec<String>,
    },
}

impl ScriptedOutput {
    fn tokens(&self) -> u64 {
        match self {
            Self::Text { tokens, .. } => *tokens,
            Self::Call { pieces, .. } => length(pieces),
        }
    }

    fn bytes_max(&self) -> u64 {
        match self {
            Self::Text { words, tokens } => bytes_max(words, *tokens),
            Self::Call { name, pieces } => bytes_max(pieces, length(pieces)).saturating_add(name.len() as u64),
        }
    }
}

/// One step of a response.
enum Step {
    Role,
    Reasoning(String),
    Text(String),
    CallBegins(String),
    Arguments(String),
    Finish,
}

impl Script {
    /// The script for a request body. Errors: the body is not a chat request, or asks for a whole response that is too
    /// large.
    pub fn of(behaviour: &Behaviour, body: &Bytes) -> Result<Self, &'static str> {
        let body_text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        let [model, messages, max_tokens, max_completion_tokens, n, stream, stream_options, tools, tool_choice] =
            json::pick(body_text, READ).map_err(|_| "the body is not a JSON object")?;
        let messages = messages.ok_or("messages are missing")?;
        let integer = |value: Option<&str>| value.and_then(json::integer);
        let cap = integer(max_tokens.or(max_completion_tokens)).unwrap_or(CAP_DEFAULT);

        let reasoning_tokens = behaviour.reasoning_tokens.min(cap);
        let called = tools.and_then(|tools| call(tools, tool_choice, messages));
        let (output, is_whole) = output(behaviour, called, messages, cap - reasoning_tokens);
        let is_call = matches!(output, ScriptedOutput::Call { .. });
        let choices = integer(n).unwrap_or(1).clamp(1, CHOICES_MAX);
        // A quarter of the bytes, rounded up: far below the bound that is held.
        let quarter = || u64::try_from(messages.len().div_ceil(4)).unwrap_or(u64::MAX);
        let prompt = behaviour.input_tokens.unwrap_or_else(quarter);
        let (reasoning, completion) = (reasoning_tokens * choices, (reasoning_tokens + output.tokens()) * choices);
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": behaviour.cached_tokens.min(prompt)},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        });
        let is_whole = is_whole && reasoning_tokens == behaviour.reasoning_tokens;
        let script = Self {
            id: format!("chatcmpl-sim-{:016x}", keyed_digest(body)),
            model: model.and_then(json::string).unwrap_or_default().into_owned(),
            streamed: stream.and_then(json::boolean).unwrap_or(false),
            include_usage: stream_options.and_then(|options| json::field(options, "include_usage")) == Some("true"),
            choices,
            reasoning_tokens,
            reasoning_words: Words::of(LOREM).map(str::to_owned).filter(|_| reasoning_tokens > 0).collect(),
            output,
            finish_reason: match (is_whole, is_call) {
                (false, _) => "length",
                (true, true) => "tool_calls",
                (true, false) => "stop",
            },
            usage: (!behaviour.no_usage).then_some(usage),
        };
        if !script.streamed && script.bytes_max() > WHOLE_BYTES_MAX {
            return Err("a response of more than 32 MiB must be streamed, or have fewer choices");
        }
        Ok(script)
    }

    /// Upper bound of the text of all choices.
    fn bytes_max(&self) -> u64 {
        let choice = bytes_max(&self.reasoning_words, self.reasoning_tokens).saturating_add(self.output.bytes_max());
        choice.saturating_mul(self.choices)
    }

    /// Steps of each choice: its role, the reasoning, the output and the finish reason.
    fn steps(&self) -> u64 {
        let begins_call = matches!(self.output, ScriptedOutput::Call { .. });
        2 + self.reasoning_tokens + u64::from(begins_call) + self.output.tokens()
    }

    /// The data of the event with this number; `None` after the last.
    pub fn event(&self, number: u64) -> Option<String> {
        let steps = self.steps();
        let Some(number) = number.checked_sub(self.choices * steps) else {
            return Some(self.chunk(number / steps, &self.step(number % steps)));
        };
        let mut ending = self.usage_chunk().into_iter().chain(["[DONE]".to_owned()]);
        ending.nth(usize::try_from(number).ok()?)
    }

    /// The step with this number in each choice.
    fn step(&self, number: u64) -> Step {
        let Some(number) = number.checked_sub(1) else { return Step::Role };
        let Some(number) = number.checked_sub(self.reasoning_tokens) else {
            return Step::Reasoning(word(&self.reasoning_words, number));
        };
        match &self.output {
            ScriptedOutput::Text { words, tokens } if number < *tokens => Step::Text(word(words, number)),
            ScriptedOutput::Text { .. } => Step::Finish,
            ScriptedOutput::Call { name, .. } if number == 0 => Step::CallBegins(name.clone()),
            ScriptedOutput::Call { pieces, .. } => {
                let piece = usize::try_from(number - 1).ok().and_then(|at| pieces.get(at));
                piece.map_or(Step::Finish, |piece| Step::Arguments(piece.clone()))
            }
        }
    }

    /// The data of the chunk of a step.
    fn chunk(&self, choice: u64, step: &Step) -> String {
        let (delta, finish_reason) = match step {
            Step::Role => (json!({"role": "assistant", "content": ""}), None),
            Step::Reasoning(text) => (json!({ "reasoning_content": text }), None),
            Step::Text(text) => (json!({ "content": text }), None),
            Step::CallBegins(name) => {
                let function = json!({"name": name, "arguments": ""});
                let call = json!({"index": 0, "id": CALL_ID, "type": "function", "function": function});
                (json!({ "tool_calls": [call] }), None)
            }
            Step::Arguments(piece) => (json!({ "tool_calls": [{"index": 0, "function": {"arguments": piece}}] }), None),
            Step::Finish => (json!({}), Some(self.finish_reason)),
        };
        let choice = json!({"index": choice, "delta": delta, "finish_reason": finish_reason});
        self.envelope("chat.completion.chunk", &json!([choice]), None).to_string()
    }

    /// The usage chunk, if it was requested and there is a report.
    fn usage_chunk(&self) -> Option<String> {
        let usage = self.usage.as_ref().filter(|_| self.include_usage)?;
        Some(self.envelope("chat.completion.chunk", &json!([]), Some(usage)).to_string())
    }

    /// The body of a whole response.
    pub fn whole(&self) -> String {
        let (mut content, mut reasoning, mut call, mut arguments) = (String::new(), String::new(), None, String::new());
        for step in (0..self.steps()).map(|number| self.step(number)) {
            match step {
                Step::Text(text) => content.push_str(&text),
                Step::Reasoning(text) => reasoning.push_str(&text),
                Step::CallBegins(name) => call = Some(name),
                Step::Arguments(piece) => arguments.push_str(&piece),
                Step::Role | Step::Finish => {}
            }
        }
        let mut message = json!({"role": "assistant", "content": content});
        if !reasoning.is_empty() {
            message["reasoning_content"] = reasoning.into();
        }
        if let Some(name) = call {
            let function = json!({"name": name, "arguments": arguments});
            message["content"] = Value::Null;
            message["tool_calls"] = json!([{"id": CALL_ID, "type": "function", "function": function}]);
        }
        let choice = |index| json!({"index": index, "message": message, "finish_reason": self.finish_reason});
        let choices: Value = (0..self.choices).map(choice).collect();
        self.envelope("chat.completion", &choices, self.usage.as_ref()).to_string()
    }

    fn envelope(&self, object: &str, choices: &Value, usage: Option<&Value>) -> Value {
        let mut envelope = json!({
            "id": self.id, "object": object, "created": CREATED_UNIX_S, "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            envelope["usage"] = usage.clone();
        }
        envelope
    }
}

/// The call that the script makes.
struct ScriptedCall {
    name: String,
    arguments: String,
}

/// The output within the cap, and whether it is complete.
fn output(behaviour: &Behaviour, called: Option<ScriptedCall>, messages: &str, cap: u64) -> (ScriptedOutput, bool) {
    let cap_in_words = usize::try_from(cap).unwrap_or(usize::MAX);
    if let Some(ScriptedCall { name, arguments }) = called {
        let mut pieces = pieces_of(&arguments);
        let is_whole = pieces.len() <= cap_in_words;
        pieces.truncate(cap_in_words);
        return (ScriptedOutput::Call { name, pieces }, is_whole);
    }
    let (text, natural) = match behaviour.voice {
        Voice::Lorem => (LOREM.to_owned(), Some(LOREM_TOKENS)),
        Voice::Echo => (last_user_text(messages), None),
    };
    let count = || Words::of(&text).fold(0, |count, _| count + 1);
    let wanted = behaviour.output_tokens.or(natural).unwrap_or_else(count);
    let tokens = wanted.min(cap);
    // No more words are kept than are sent; fewer are repeated.
    let words = Words::of(&text).map(str::to_owned).take(usize::try_from(tokens).unwrap_or(usize::MAX)).collect();
    (ScriptedOutput::Text { words, tokens }, tokens == wanted)
}

/// Upper bound of the bytes of so many tokens from these words, which are repeated.
fn bytes_max(words: &[String], tokens: u64) -> u64 {
    // A space may come before each repetition.
    let once = words.iter().fold(1_u64, |bytes, word| bytes.saturating_add(word.len() as u64));
    once.saturating_mul(tokens.div_ceil(length(words).max(1)))
}

fn length(list: &[String]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

/// Splits a text into words with the white space before them, so that joined they are the text.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// The words of a text; at least one.
    const fn of(text: &'a str) -> Self {
        Self(if text.is_empty() { "(nothing)" } else { text })
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let word = self.0.find(|c: char| !c.is_whitespace()).unwrap_or(self.0.len());
        let length = self.0.get(word..)?.find(char::is_whitespace).map_or(self.0.len(), |length| word + length);
        let (next, rest) = self.0.split_at_checked(length)?;
        // White space at the end belongs to the last word.
        let is_last = rest.trim_start().is_empty();
        let next = if is_last { self.0 } else { next };
        self.0 = if is_last { "" } else { rest };
        (!next.is_empty()).then_some(next)
    }
}

/// The word with this number in the endless repetition of the words.
fn word(words: &[String], number: u64) -> String {
    let count = length(words).max(1);
    let word = usize::try_from(number % count).ok().and_then(|at| words.get(at)).map_or("", String::as_str);
    let begins_anew = number > 0 && number.is_multiple_of(count) && !word.starts_with(char::is_whitespace);
    if begins_anew { format!(" {word}") } else { word.to_owned() }
}

fn pieces_of(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(4).map(|piece| piece.iter().collect()).collect()
}

fn last_user_text(messages: &str) -> String {
    let is_user = |message: &&str| json::field(message, "role").is_some_and(|role| role == r#""user""#);
    let last = json::elements(messages).map_while(Result::ok).filter(is_user).last();
    last.map(text_of).unwrap_or_default()
}

/// The text of a message: a string, or the text parts of a list.
fn text_of(message: &str) -> String {
    let Some(content) = json::field(message, "content") else { return String::new() };
    if let Some(text) = json::string(content) {
        return text.into_owned();
    }
    let texts = json::elements(content).map_while(Result::ok).filter_map(|part| json::field(part, "text"));
    texts.filter_map(json::string).collect::<Vec<_>>().join("\n")
}

/// The name and arguments of the tool to call.
fn call(tools: &str, tool_choice: Option<&str>, messages: &str) -> Option<ScriptedCall> {
    let tools: Vec<Value> = serde_json::from_str(tools).ok()?;
    let last_message = json::elements(messages).map_while(Result::ok).last().unwrap_or_default();
    let functions = tools.iter().filter_map(|tool| tool.get("function"));
    let named = |name: &str| functions.clone().find(|function| function["name"] == name);
    let choice: Value = tool_choice.and_then(|choice| serde_json::from_str(choice).ok()).unwrap_or(Value::Null);
    let chosen = match choice.as_str() {
        Some("none") => None,
        Some("required") => functions.clone().next(),
        None if choice.is_object() => named(choice["function"]["name"].as_str()?),
        _ => mentioned(functions.clone(), last_message),
    }?;
    let name = chosen["name"].as_str()?.to_owned();
    Some(ScriptedCall { name, arguments: arguments::satisfying(chosen.get("parameters")) })
}

/// The first tool whose name a user's message contains.
fn mentioned<'a>(mut functions: impl Iterator<Item = &'a Value>, message: &str) -> Option<&'a Value> {
    if json::field(message, "role")? != r#""user""# {
        return None;
    }
    let text = text_of(message);
    functions.find(|function| function["name"].as_str().is_some_and(|name| text.contains(name)))
}

/// A digest of the beginning and the length, the same for the same request in this process. Traces have the ids of responses: without the
/// key, which is nowhere else, nobody confirms a guess at a prompt by them.
fn keyed_digest(body: &[u8]) -> u64 {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| {
        let mut key = [0; 32];
        SystemRandom.fill(&mut key);
        hmac::Key::new(hmac::HMAC_SHA256, &key)
    });
    let mut context = hmac::Context::with_key(&KEY);
    context.update(&u64::try_from(body.len()).unwrap_or(0).to_be_bytes());
    context.update(body.get(..4096).unwrap_or(body));
    context.sign().as_ref().first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

/// FNV-1a over the beginning and the length.
pub fn digest(body: &[u8]) -> u64 {
    let beginning = body.get(..4096).unwrap_or(body);
    let seed = 0xcbf2_9ce4_8422_2325 ^ u64::try_from(body.len()).unwrap_or(0);
    beginning.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_request_and_is_no_digest_that_others_can_compute() {
        let id = |body: &Bytes| Script::of(&Behaviour::of("echo").expect("a model"), body).expect("a script").id;
        let [one, other] = ["one", "other"]
            .map(|text| Bytes::from(json!({ "messages": [{ "role": "user", "content": text }] }).to_string()));
        assert_eq!(id(&one), id(&one));
        assert_ne!(id(&one), id(&other));
        assert_ne!(id(&one), format!("chatcmpl-sim-{:016x}", digest(&one)));
    }

    #[test]
    fn a_whole_response_is_never_larger_than_an_answer_may_be() {
        let script = |words: &str, fields: Value| {
            let mut body = json!({ "messages": [{ "role": "user", "content": words }] });
            for (name, value) in fields.as_object().expect("an object") {
                body[name] = value.clone();
            }
            Script::of(&Behaviour::of("echo").expect("a model"), &body.to_string().into())
        };
        let long = "x".repeat(300_000);
        assert!(script(&long, json!({ "n": 100 })).is_ok_and(|script| script.whole().len() > 30_000_000));
        let refused = script(&long, json!({ "n": 128 })).err().expect("too large");
        assert!(refused.contains("32 MiB"), "{refused}");
        assert!(script(&long, json!({ "n": 128, "stream": true })).is_ok(), "each event is made when it is sent");
        let function = json!({ "name": "f", "parameters": { "properties": { "a": { "const": long } } } });
        let tools = json!([{ "type": "function", "function": function }]);
        let called = json!({ "n": 128, "tools": tools, "tool_choice": "required", "max_tokens": 100_000 });
        assert!(script("call", called).is_err());
    }
}
