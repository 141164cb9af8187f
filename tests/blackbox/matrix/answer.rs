//! Answers, read from the words of each surface.

use serde_json::Value;

use crate::client::Sse;

/// An answer without the form of its surface.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub text: String,
    pub thoughts: String,
    /// Names and arguments of tool calls, in order.
    pub calls: Vec<(String, Value)>,
    /// In the surface's words.
    pub finish: String,
    pub usage: Option<ReportedUsage>,
    /// The stream has ended with an error.
    pub error: Option<Value>,
}

/// The usage that a client is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportedUsage {
    pub input: u64,
    pub cached: u64,
    pub output: u64,
}

/// Arguments so far, by the index of a call.
type Arguments = Vec<(u64, String)>;

impl Answer {
    pub fn whole(surface: &str, body: &Value) -> Self {
        match surface {
            "native" => native(body),
            "openai" => chat(body),
            "responses" => response(body),
            "completions" => completion(body),
            "anthropic" => message(body),
            other => panic!("no surface {other}"),
        }
    }

    pub fn streamed(surface: &str, events: &[Sse]) -> Self {
        let mut answer = Self::default();
        let mut arguments = Arguments::new();
        for event in events.iter().filter(|event| !event.is_done()) {
            let data = event.json();
            if event.event == "error" || data["error"].is_object() {
                answer.error = Some(data["error"].clone());
                continue;
            }
            match surface {
                "native" => answer.add_native(&event.event, &data, &mut arguments),
                "openai" => answer.add_chunk(&data, &mut arguments),
                "responses" => answer.add_response_event(&data),
                "completions" => answer.add_completion_chunk(&data),
                "anthropic" => answer.add_message_event(&data, &mut arguments),
                other => panic!("no surface {other}"),
            }
        }
        for ((_, found), (_, text)) in answer.calls.iter_mut().zip(arguments) {
            *found = arguments_of(&text);
        }
        answer
    }

    /// The arguments so far of the call with the index of this piece, which may be its first.
    fn call<'a>(&mut self, piece: &Value, name: &Value, arguments: &'a mut Arguments) -> &'a mut String {
        let index = piece["index"].as_u64().expect("an index");
        let at = arguments.iter().position(|(of, _)| *of == index).unwrap_or_else(|| {
            self.calls.push((string(name).to_owned(), Value::Null));
            arguments.push((index, String::new()));
            arguments.len() - 1
        });
        &mut arguments[at].1
    }

    fn add_native(&mut self, event: &str, data: &Value, arguments: &mut Arguments) {
        match event {
            "output.delta" if data["type"] == "reasoning" => self.thoughts += string(&data["text"]),
            "output.delta" => self.text += string(&data["text"]),
            "output.tool_call" => {
                *self.call(data, &data["name"], arguments) += string(&data["arguments_delta"]);
            }
            "completed" => {
                let Self { finish, usage, .. } = native(data);
                (self.finish, self.usage) = (finish, usage);
            }
            _ => {}
        }
    }

    fn add_chunk(&mut self, data: &Value, arguments: &mut Arguments) {
        let choice = &data["choices"][0];
        let delta = &choice["delta"];
        self.text += string(&delta["content"]);
        self.text += string(&delta["refusal"]);
        self.thoughts += string(&delta["reasoning_content"]);
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            *self.call(call, &call["function"]["name"], arguments) += string(&call["function"]["arguments"]);
        }
        self.finish += string(&choice["finish_reason"]);
        self.usage = of_openai(&data["usage"]).or(self.usage);
    }

    fn add_response_event(&mut self, data: &Value) {
        match string(&data["type"]) {
            "response.output_text.delta" => self.text += string(&data["delta"]),
            "response.reasoning_summary_text.delta" => self.thoughts += string(&data["delta"]),
            "response.completed" | "response.incomplete" => {
                let last = response(&data["response"]);
                assert_eq!((&last.text, &last.thoughts), (&self.text, &self.thoughts), "its pieces are not its whole");
                *self = last;
            }
            _ => {}
        }
    }

    fn add_completion_chunk(&mut self, data: &Value) {
        let choice = &data["choices"][0];
        self.text += string(&choice["text"]);
        self.finish += string(&choice["finish_reason"]);
        self.usage = of_openai(&data["usage"]).or(self.usage);
    }

    fn add_message_event(&mut self, data: &Value, arguments: &mut Arguments) {
        match string(&data["type"]) {
            "message_start" => self.usage = of_anthropic(&data["message"]["usage"], ReportedUsage::default()),
            "content_block_start" => {
                let block = &data["content_block"];
                self.text += string(&block["text"]);
                self.thoughts += string(&block["thinking"]);
                if block["type"] == "tool_use" {
                    self.call(data, &block["name"], arguments);
                }
            }
            "content_block_delta" => {
                let delta = &data["delta"];
                self.text += string(&delta["text"]);
                self.thoughts += string(&delta["thinking"]);
                if delta["type"] == "input_json_delta" {
                    *self.call(data, &Value::Null, arguments) += string(&delta["partial_json"]);
                }
            }
            "message_delta" => {
                self.finish = string(&data["delta"]["stop_reason"]).to_owned();
                self.usage = of_anthropic(&data["usage"], self.usage.unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// The events of a stored stream.
pub fn events(stream: &str) -> Vec<Sse> {
    let event = |block: &str| {
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some(Sse { event: line("event: ").unwrap_or_else(|| "message".to_owned()), data: line("data: ")? })
    };
    stream.split("\n\n").filter_map(event).collect()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// No arguments are those of a tool without parameters.
fn arguments_of(text: &str) -> Value {
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str(text).unwrap_or_else(|error| panic!("arguments {text:?}: {error}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// The sides of the gateway's own classes, which are disjoint.
pub fn of_classes(usage: &Value) -> ReportedUsage {
    let sum = |classes: &[&str]| classes.iter().map(|class| number(&usage[*class])).sum::<u64>();
    let cached = sum(&["input_cache_read_tokens", "input_cache_read_audio_tokens", "input_cache_read_image_tokens"]);
    let fresh = ["input_uncached_tokens", "input_cache_write_tokens", "input_audio_tokens", "input_image_tokens"];
    ReportedUsage {
        input: cached + sum(&fresh) + sum(&["citation_tokens"]),
        cached,
        output: sum(&["output_text_tokens", "output_reasoning_tokens", "output_audio_tokens", "output_image_tokens"]),
    }
}

fn native(body: &Value) -> Answer {
    let usage = &body["usage"];
    let mut answer = Answer {
        finish: string(&body["finish_reason"]).to_owned(),
        usage: usage.is_object().then(|| of_classes(usage)),
        ..Answer::default()
    };
    for block in body["output"].as_array().into_iter().flatten() {
        match string(&block["type"]) {
            "text" => answer.text += string(&block["text"]),
            "reasoning" => answer.thoughts += string(&block["text"]),
            "tool_call" => answer.calls.push((string(&block["name"]).to_owned(), block["arguments"].clone())),
            other => panic!("a block {other}"),
        }
    }
    answer
}

fn chat(body: &Value) -> Answer {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let call = |call: &Value| {
        let function = &call["function"];
        (string(&function["name"]).to_owned(), arguments_of(string(&function["arguments"])))
    };
    Answer {
        text: string(&message["content"]).to_owned() + string(&message["refusal"]),
        thoughts: string(&message["reasoning_content"]).to_owned(),
        calls: message["tool_calls"].as_array().into_iter().flatten().map(call).collect(),
        finish: string(&choice["finish_reason"]).to_owned(),
        usage: of_openai(&body["usage"]),
        error: None,
    }
}

fn completion(body: &Value) -> Answer {
    let choice = &body["choices"][0];
    Answer {
        text: string(&choice["text"]).to_owned(),
        finish: string(&choice["finish_reason"]).to_owned(),
        usage: of_openai(&body["usage"]),
        ..Answer::default()
    }
}

fn response(body: &Value) -> Answer {
    let usage = &body["usage"];
    let reported = ReportedUsage {
        input: number(&usage["input_tokens"]),
        cached: number(&usage["input_tokens_details"]["cached_tokens"]),
        output: number(&usage["output_tokens"]),
    };
    let finish = match string(&body["status"]) {
        "incomplete" => string(&body["incomplete_details"]["reason"]),
        status => status,
    };
    let mut answer =
        Answer { finish: finish.to_owned(), usage: usage.is_object().then_some(reported), ..Answer::default() };
    for item in body["output"].as_array().into_iter().flatten() {
        let parts = |name: &str| item[name].as_array().into_iter().flatten().map(|part| string(&part["text"]));
        match string(&item["type"]) {
            "message" => answer.text.extend(parts("content")),
            "reasoning" => answer.thoughts.extend(parts("summary")),
            "function_call" => {
                answer.calls.push((string(&item["name"]).to_owned(), arguments_of(string(&item["arguments"]))));
            }
            other => panic!("an item {other}"),
        }
    }
    answer
}

fn message(body: &Value) -> Answer {
    let mut answer = Answer {
        finish: string(&body["stop_reason"]).to_owned(),
        usage: of_anthropic(&body["usage"], ReportedUsage::default()),
        ..Answer::default()
    };
    for block in body["content"].as_array().into_iter().flatten() {
        answer.text += string(&block["text"]);
        answer.thoughts += string(&block["thinking"]);
        if block["type"] == "tool_use" {
            answer.calls.push((string(&block["name"]).to_owned(), block["input"].clone()));
        }
    }
    answer
}

fn of_openai(usage: &Value) -> Option<ReportedUsage> {
    usage.is_object().then(|| ReportedUsage {
        input: number(&usage["prompt_tokens"]),
        cached: number(&usage["prompt_tokens_details"]["cached_tokens"]),
        output: number(&usage["completion_tokens"]),
    })
}

/// Keeps the values of `before` that a later report leaves out.
fn of_anthropic(usage: &Value, before: ReportedUsage) -> Option<ReportedUsage> {
    let input = |name: &str| number(&usage[name]);
    let whole = input("input_tokens") + input("cache_read_input_tokens") + input("cache_creation_input_tokens");
    let has_input = usage["input_tokens"].is_u64();
    usage.is_object().then(|| ReportedUsage {
        input: if has_input { whole } else { before.input },
        cached: if has_input { input("cache_read_input_tokens") } else { before.cached },
        output: usage["output_tokens"].as_u64().unwrap_or(before.output),
    })
}
