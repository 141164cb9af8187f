//! Responses and streams in which something repeats or does not end, as a broken or malicious upstream may send them.

use fuzzing::Dice;
use intermediate::{json, report};
use testing::event_stream::frame;

use super::provider_dialects::Framing;
use super::*;

/// Templates of events in one stream.
const TEMPLATES_MAX: usize = 4;
/// Names at the top level of a response, known and unknown.
const NAMES: [&str; 8] = ["usage", "x_groq", "model", "id", "usage", "choices", "type", "nothing"];

/// Names of Bedrock's events.
const FRAMES: [&str; 7] = [
    "messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockDelta", "contentBlockStop", "metadata",
    "nothing",
];

/// A stream of about `room` bytes.
pub fn stream(dialect: ProviderKind, room: usize, dice: &mut Dice<'_>) -> Vec<u8> {
    let (mut stream, templates) = (Vec::new(), 1 + dice.below(TEMPLATES_MAX));
    let room = if dice.one_in(2) { room } else { room / templates };
    let mut tedious = Tedious { room, dice };
    let Words { call_begins, event, end, .. } = words(dialect);
    let framing = provider_dialects::of(dialect).framing;
    if tedious.dice.one_in(2) {
        // Repeated with every piece of a call.
        tedious.say(framing, &mut stream, call_begins);
    }
    for _ in 0..templates {
        tedious.say(framing, &mut stream, event);
    }
    if tedious.dice.one_in(4) {
        tedious.say(framing, &mut stream, Tedious::error);
    }
    stream.extend_from_slice(&golden::wire(dialect, end.as_bytes().to_vec()));
    stream
}

/// The vocabulary of a dialect.
struct Words<'d, 'i> {
    call_begins: fn(&mut Tedious<'d, 'i>) -> String,
    event: fn(&mut Tedious<'d, 'i>) -> String,
    /// The end of a stream.
    end: &'static str,
    answer: fn(&mut Tedious<'d, 'i>) -> String,
}

fn words<'d, 'i>(dialect: ProviderKind) -> Words<'d, 'i> {
    match dialect {
        ProviderKind::Openai | ProviderKind::AzureOpenai => Words {
            call_begins: Tedious::call_begins,
            event: Tedious::chunk,
            end: "data: [DONE]\n\n",
            answer: Tedious::completion,
        },
        ProviderKind::Anthropic => Words {
            call_begins: Tedious::tool_use,
            event: Tedious::event,
            end: r#"data: {"type":"message_stop"}"#,
            answer: Tedious::message,
        },
        ProviderKind::Ollama => Words {
            call_begins: Tedious::turn,
            event: Tedious::turn,
            end: r#"{"done":true,"done_reason":"stop","eval_count":1}"#,
            answer: Tedious::last_turn,
        },
        ProviderKind::Cohere => Words {
            call_begins: Tedious::cohere_call,
            event: Tedious::cohere_event,
            end: r#"data: {"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
            answer: Tedious::cohere_answer,
        },
        ProviderKind::Gemini => Words {
            call_begins: Tedious::candidates,
            event: Tedious::candidates,
            end: "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n",
            answer: Tedious::candidates,
        },
        ProviderKind::Bedrock => Words {
            call_begins: Tedious::tool_use_start,
            event: Tedious::converse_event,
            end: "messageStop {\"stopReason\":\"end_turn\"}",
            answer: Tedious::converse_message,
        },
        // Of two dialects: that of Google's models is drawn for Gemini.
        ProviderKind::Vertex => words(ProviderKind::Anthropic),
        ProviderKind::Simulator => panic!("it speaks OpenAI's dialect"),
    }
}

/// See [`stream`]: the body of a response that is not a 200.
pub fn refusal(room: usize, dice: &mut Dice<'_>) -> Vec<u8> {
    let mut tedious = Tedious { room: room / 2, dice };
    tedious.object(Tedious::error).into_bytes()
}

/// See [`stream`].
pub fn answer(dialect: ProviderKind, room: usize, dice: &mut Dice<'_>) -> Vec<u8> {
    let mut tedious = Tedious { room: room / 2, dice };
    let answer = match dialect {
        _ if tedious.dice.one_in(4) => tedious.object(Tedious::error),
        dialect => tedious.object(words(dialect).answer),
    };
    answer.into_bytes()
}

struct Tedious<'d, 'i> {
    /// Bytes of one long value.
    room: usize,
    dice: &'d mut Dice<'i>,
}

impl<'d, 'i> Tedious<'d, 'i> {
    fn say(&mut self, framing: Framing, stream: &mut Vec<u8>, members: fn(&mut Tedious<'d, 'i>) -> String) {
        let object = self.object(members);
        let event = match framing {
            Framing::Sse => format!("data: {object}\n\n").into_bytes(),
            Framing::Lines => (object + "\n").into_bytes(),
            Framing::EventStream => {
                let name = FRAMES[self.dice.below(FRAMES.len())];
                frame(name.as_bytes(), object.as_bytes())
            }
        };
        let copies = self.copies(event.len());
        stream.extend_from_slice(&event.repeat(copies));
    }

    /// Repetitions of something of this length: mostly one.
    fn copies(&mut self, bytes: usize) -> usize {
        if self.dice.one_in(2) { 1 } else { (self.room / bytes.max(1)).max(1) }
    }

    /// Mostly a word.
    fn string(&mut self) -> String {
        let piece = ["n", "n", "n", "é", r"\u0001", r"\u00e9", "\\\"", "%25", "&#65;"][self.dice.below(9)];
        let copies = if self.dice.below(3) > 0 { 1 } else { self.room / piece.len() };
        format!("\"{}\"", piece.repeat(copies))
    }

    fn many(&mut self, one: fn(&mut Self) -> String) -> String {
        let one = one(self);
        let copies = self.copies(one.len() + 1);
        vec![one; copies].join(",")
    }

    fn maybe(&mut self, member: fn(&mut Self) -> String) -> String {
        if self.dice.one_in(2) { member(self) + "," } else { String::new() }
    }

    /// An object with these members, and before them one that may be repeated.
    fn object(&mut self, members: fn(&mut Self) -> String) -> String {
        let before = self.maybe(|this| this.many(Self::member));
        format!("{{{before}{}}}", members(self))
    }

    fn member(&mut self) -> String {
        let (name, value) = (NAMES[self.dice.below(NAMES.len())], self.value());
        format!("\"{name}\":{value}")
    }

    fn value(&mut self) -> String {
        match self.dice.below(6) {
            0..=2 => "{}".to_owned(),
            3 => "null".to_owned(),
            4 => self.string(),
            _ => self.report(),
        }
    }

    /// A usage report, sometimes of the largest length and depth.
    fn report(&mut self) -> String {
        let number = self.dice.byte();
        let one = format!(r#""prompt_tokens":{number},"completion_tokens":{number}"#);
        match self.dice.below(4) {
            0 => {
                let depth = self.dice.below(json::DEPTH_MAX as usize);
                let names = r#"{"a":"#.repeat(depth);
                let text = "n".repeat(report::REPORT_BYTES_MAX.saturating_sub(one.len() + 6 * depth + 64));
                format!(r#"{{"a":{names}"{text}"{},{one}}}"#, "}".repeat(depth))
            }
            1 => format!(r#"{{"iterations":[{{{one}}}],{one}}}"#),
            _ => {
                let copies = self.copies(one.len() + 1);
                format!("{{{}}}", vec![one; copies].join(","))
            }
        }
    }

    fn error(&mut self) -> String {
        let (before, last) = (self.many(Self::error_message), self.error_message());
        match self.dice.below(3) {
            0 => format!(r#""object":"error",{before},{last}"#),
            _ => format!(r#""type":"error","error":{{{before},{last}}}"#),
        }
    }

    fn error_message(&mut self) -> String {
        match self.dice.below(8) {
            0 => r#""code":400"#.to_owned(),
            1 => r#""type":"invalid_request_error""#.to_owned(),
            2 | 3 => format!(r#""message":{}"#, self.string()),
            4 => format!(r#""message":{{"detail":[{}]}}"#, self.many(Self::fault)),
            5 => format!(r#""detail":[{}]"#, self.many(Self::fault)),
            6 => format!(r#""details":{}"#, self.object(Self::member)),
            _ => self.member(),
        }
    }

    fn fault(&mut self) -> String {
        let (steps, message) = (self.many(Self::string), self.string());
        format!(r#"{{"loc":["body",{steps}],"msg":{message}}}"#)
    }

    fn chunk(&mut self) -> String {
        let choices = self.many(|this| {
            let delta = this.object(Self::delta);
            format!(r#"{{"index":0,"delta":{delta}}}"#)
        });
        format!(r#""choices":[{choices}]"#)
    }

    fn completion(&mut self) -> String {
        let choices = self.many(|this| {
            let message = this.object(Self::delta);
            format!(r#"{{"index":0,"message":{message},"finish_reason":"stop"}}"#)
        });
        let usage = self.report();
        format!(r#""choices":[{choices}],"usage":{usage}"#)
    }

    fn delta(&mut self) -> String {
        match self.dice.below(6) {
            0 => format!(r#""content":{}"#, self.string()),
            1 => format!(r#""reasoning":{}"#, self.string()),
            2 => format!(r#""content":[{}]"#, self.many(Self::part)),
            3 => format!(r#""function_call":{}"#, self.object(Self::arguments)),
            _ => format!(r#""tool_calls":[{}]"#, self.many(|this| this.object(Self::call))),
        }
    }

    fn part(&mut self) -> String {
        format!(r#"{{"type":"text","text":{}}}"#, self.string())
    }

    fn call_begins(&mut self) -> String {
        let (id, name) = (self.id(), self.name());
        format!(r#""choices":[{{"delta":{{"tool_calls":[{{{id},"function":{{{name}}}}}]}}}}]"#)
    }

    fn call(&mut self) -> String {
        let (id, name) = (self.maybe(Self::id), self.maybe(Self::name));
        format!(r#"{id}"function":{{{name}{}}}"#, self.arguments())
    }

    fn id(&mut self) -> String {
        format!(r#""id":{}"#, self.string())
    }

    fn name(&mut self) -> String {
        format!(r#""name":{}"#, self.string())
    }

    fn arguments(&mut self) -> String {
        format!(r#""arguments":{}"#, self.string())
    }

    /// A message of Ollama.
    fn turn(&mut self) -> String {
        let message = self.object(|this| match this.dice.below(4) {
            0 => format!(r#""content":{}"#, this.string()),
            1 => format!(r#""thinking":{}"#, this.string()),
            _ => format!(r#""tool_calls":[{}]"#, this.many(|this| this.object(Self::call))),
        });
        format!(r#""model":"m","created_at":"2026","message":{message}"#)
    }

    fn last_turn(&mut self) -> String {
        let turn = self.turn();
        format!(r#"{turn},"done":true,"prompt_eval_count":{},"eval_count":1"#, self.dice.byte())
    }

    fn cohere_call(&mut self) -> String {
        let (id, call) = (self.maybe(Self::id), self.name());
        format!(
            r#""type":"tool-call-start","index":0,"delta":{{"message":{{"tool_calls":{{{id}"function":{{{call}}}}}}}}}"#
        )
    }

    fn cohere_event(&mut self) -> String {
        match self.dice.below(6) {
            0 => self.cohere_call(),
            1 => {
                let arguments = self.arguments();
                format!(
                    r#""type":"tool-call-delta","index":0,"delta":{{"message":{{"tool_calls":{{"function":{{{arguments}}}}}}}}}"#
                )
            }
            2 => format!(r#""type":"tool-plan-delta","delta":{{"message":{{"tool_plan":{}}}}}"#, self.string()),
            3 => {
                format!(
                    r#""type":"content-start","delta":{{"message":{{"content":{{"thinking":{}}}}}}}"#,
                    self.string()
                )
            }
            4 => format!(r#""type":"content-delta","delta":{{"message":{{"content":{{"text":{}}}}}}}"#, self.string()),
            _ => r#""type":"citation-start","delta":{}"#.to_owned(),
        }
    }

    fn cohere_answer(&mut self) -> String {
        let content = self.many(Self::part);
        let calls = self.many(|this| this.object(Self::call));
        let (plan, usage) = (self.string(), self.report());
        format!(
            r#""id":"a","message":{{"tool_plan":{plan},"content":[{content}],"tool_calls":[{calls}]}},"usage":{usage}"#
        )
    }

    /// A response of Gemini.
    fn candidates(&mut self) -> String {
        let candidates = self.many(|this| {
            let parts = this.many(|this| this.object(Self::gemini_part));
            format!(r#"{{"content":{{"parts":[{parts}]}},"index":0,"finishReason":"STOP"}}"#)
        });
        let usage = self.report();
        format!(r#""responseId":"r","candidates":[{candidates}],"usageMetadata":{usage}"#)
    }

    fn gemini_part(&mut self) -> String {
        let signature = self.maybe(|this| format!(r#""thoughtSignature":{}"#, this.string()));
        match self.dice.below(4) {
            0 => format!(r#"{signature}"text":{}"#, self.string()),
            1 => format!(r#"{signature}"thought":true,"text":{}"#, self.string()),
            _ => {
                let (id, name) = (self.id(), self.name());
                format!(r#"{signature}"functionCall":{{{id},{name},"args":{{"a":{}}}}}"#, self.string())
            }
        }
    }

    /// The members of any event of Bedrock's.
    fn converse_event(&mut self) -> String {
        let delta = self.object(|this| match this.dice.below(4) {
            0 => format!(r#""text":{}"#, this.string()),
            1 => format!(r#""reasoningContent":{{"text":{}}}"#, this.string()),
            2 => format!(r#""reasoningContent":{{"signature":{}}}"#, this.string()),
            _ => format!(r#""toolUse":{{"input":{}}}"#, this.string()),
        });
        let (index, start, usage) = (self.dice.below(3), self.maybe(Self::tool_use_start), self.report());
        format!(r#""contentBlockIndex":{index},{start}"delta":{delta},"usage":{usage}"#)
    }

    fn tool_use_start(&mut self) -> String {
        let (id, name) = (self.string(), self.string());
        format!(r#""start":{{"toolUse":{{"toolUseId":{id},"name":{name}}}}}"#)
    }

    fn converse_message(&mut self) -> String {
        let content = self.many(|this| {
            this.object(|this| match this.dice.below(3) {
                0 => format!(r#""text":{}"#, this.string()),
                1 => format!(r#""reasoningContent":{{"reasoningText":{{"text":{}}}}}"#, this.string()),
                _ => {
                    let (id, name) = (this.string(), this.string());
                    format!(r#""toolUse":{{"toolUseId":{id},"name":{name},"input":{{"a":{}}}}}"#, this.string())
                }
            })
        });
        let usage = self.report();
        format!(r#""output":{{"message":{{"content":[{content}]}}}},"usage":{usage}"#)
    }

    fn event(&mut self) -> String {
        match self.dice.below(7) {
            0 => {
                let message = self.object(Self::message);
                format!(r#""type":"message_start","message":{message}"#)
            }
            1 => {
                let block = self.object(Self::block);
                format!(r#""type":"content_block_start","index":0,"content_block":{block}"#)
            }
            2 => self.tool_use(),
            3 | 4 => {
                let delta = self.object(Self::block_delta);
                format!(r#""type":"content_block_delta","index":0,"delta":{delta}"#)
            }
            5 => r#""type":"content_block_stop","index":0"#.to_owned(),
            _ => {
                let usage = self.report();
                format!(r#""type":"message_delta","delta":{{}},"usage":{usage}"#)
            }
        }
    }

    fn tool_use(&mut self) -> String {
        let (id, name) = (self.string(), self.string());
        let block = format!(r#"{{"type":"tool_use","id":{id},"name":{name}}}"#);
        format!(r#""type":"content_block_start","index":0,"content_block":{block}"#)
    }

    fn message(&mut self) -> String {
        let content = self.many(|this| this.object(Self::block));
        let usage = self.report();
        format!(r#""id":"a","content":[{content}],"usage":{usage}"#)
    }

    fn block(&mut self) -> String {
        match self.dice.below(4) {
            0 => format!(r#""type":"text","text":{}"#, self.string()),
            1 => format!(r#""type":"thinking","thinking":{},"signature":{}"#, self.string(), self.string()),
            _ => {
                let (id, name) = (self.string(), self.string());
                format!(r#""type":"tool_use","id":{id},"name":{name},"input":{{"a":{}}}"#, self.string())
            }
        }
    }

    fn block_delta(&mut self) -> String {
        match self.dice.below(3) {
            0 => format!(r#""type":"text_delta","text":{}"#, self.string()),
            _ => format!(r#""type":"input_json_delta","partial_json":{}"#, self.string()),
        }
    }
}
