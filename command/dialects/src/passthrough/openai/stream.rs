//! A stream from an OpenAI-compatible upstream to a client of the OpenAI surface.

use bytes::BytesMut;
use intermediate::framing::Event;
use intermediate::json::{self, Edit, Member};
use intermediate::{Metered, Receipt, UpstreamFault};
use provider_dialects::StreamState;
use provider_dialects::openai::chunk::{Choices, Measured, TopLevel, chunk_of, measure_choices, top_level};
use surfaces::openai::{END, put_usage_chunk};
use surfaces::sse::put_data;

use super::template::Template;
use crate::passthrough::rewrite::{Change, plan, rewritten_with};

/// Longest usage chunk that is kept until the end, in bytes. A longer one is replaced by the gateway's own.
const USAGE_CHUNK_BYTES_MAX: usize = 64 * 1024;
/// The members of a usage chunk. Others, such as citations, are content to somebody.
#[rustfmt::skip]
const USUAL: [&str; 11] = [
    "choices", "created", "id", "model", "object", "obfuscation", "provider", "service_tier", "system_fingerprint", "usage",
    "x_groq",
];

/// Templates that one stream makes: each copies a chunk, in vain where each chunk has its own fields.
const TEMPLATES_MAX: u32 = 8;

/// A stream to a client of the same dialect: the upstream's chunks with the frontend model, and without usage unless
/// the client asked for it.
pub struct OpenAiStream {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    include_usage: bool,
    choices: Choices,
    /// The usage chunk, held back for the end.
    usage_chunk: Option<Vec<u8>>,
    template: Option<Template>,
    /// Templates that may still be made.
    templates_left: u32,
}

impl OpenAiStream {
    pub fn new(frontend_model: &str, include_usage: bool) -> Self {
        Self {
            model: json::written(frontend_model),
            include_usage,
            choices: Choices::numbering_calls(),
            usage_chunk: None,
            template: None,
            templates_left: TEMPLATES_MAX,
        }
    }

    pub const fn is_complete(&self) -> bool {
        self.choices.all_finished()
    }

    /// Relays one event. Returns the state of the stream, and true if the event has content.
    pub fn event(
        &mut self,
        event: Event<'_>,
        metered: &mut Metered,
        out: &mut BytesMut,
    ) -> Result<(StreamState, bool), UpstreamFault> {
        match chunk_of(event, metered)? {
            Some(chunk) => Ok((StreamState::Open, self.chunk(chunk.trim_ascii(), metered, out)?)),
            None => Ok((StreamState::Ended, false)),
        }
    }

    fn chunk(&mut self, text: &str, metered: &mut Metered, out: &mut BytesMut) -> Result<bool, UpstreamFault> {
        if let Some(has_content) = self.template.as_ref().and_then(|template| template.relay(text, metered, out)) {
            return Ok(has_content);
        }
        let top = top_level(text, metered)?;
        let Measured { has_content, has_choices, adds_nothing, has_report, only_text, edits } =
            measure_choices(text, &top, metered, &mut self.choices)?;
        // Azure's first chunk (`prompt_filter_results`) and usage chunks have an empty list of choices. Neither goes to
        // clients that did not ask for usage, and usage waits for the end. Of some servers (OpenRouter), the usage chunk
        // has the choices once more, with nothing in them. An object without a list is not a chunk.
        let says_more =
            || has_choices && !self.include_usage && top.members.iter().any(|member| !USUAL.contains(&member.name()));
        if adds_nothing && top.usage.is_some() && !says_more() {
            let is_short = text.len() <= USAGE_CHUNK_BYTES_MAX;
            let without_choices = || self.edited(text, &top, true, Vec::from_iter(without_choices(&top.members)));
            self.usage_chunk = (self.include_usage && is_short).then(without_choices);
            return Ok(false);
        }
        if !has_choices && self.include_usage && top.choices.is_some() {
            put_data(out, &self.edited(text, &top, true, Vec::new()));
        }
        if !has_choices || adds_nothing && has_report {
            return Ok(false);
        }
        let edited = self.edited(text, &top, false, edits);
        put_data(out, &edited);
        if let (None, Some(choices), Some(only_text), 1..) = (top.usage, top.choices, only_text, self.templates_left) {
            self.templates_left -= 1;
            self.template = Template::new(text, choices, &only_text, &edited);
        }
        Ok(has_content)
    }

    /// The chunk with the frontend model and these edits of its choices. The usage of an ordinary chunk becomes null, or is
    /// removed if not requested.
    fn edited(&self, text: &str, top: &TopLevel<'_>, keeps_usage: bool, edits: Vec<Edit>) -> Vec<u8> {
        let change = |name: &str| match name {
            "usage" if keeps_usage => Change::Keep,
            "usage" if self.include_usage => Change::SetNull,
            "usage" | "x_groq" if !self.include_usage => Change::Remove,
            _ => Change::Keep,
        };
        rewritten_with(text, &plan(&top.members, change), &self.model, edits)
    }

    /// Writes the end of the stream: the usage chunk if the client asked for it (the gateway's own if the upstream sent
    /// none), and the terminal marker.
    pub fn close(&self, receipt: &Receipt<'_>, upstream_id: Option<&str>, out: &mut BytesMut) {
        match &self.usage_chunk {
            Some(chunk) => put_data(out, chunk),
            None if self.include_usage => put_usage_chunk(receipt, upstream_id, out),
            None => {}
        }
        put_data(out, END);
    }

    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        let template = self.template.as_ref().map_or(0, Template::held_bytes);
        let kept = self.model.capacity() + self.usage_chunk.as_ref().map_or(0, Vec::capacity);
        kept + template + self.choices.held_bytes()
    }
}

/// Empties the choices of a usage chunk, as OpenAI's are: clients read all of them, and fail if there is no list.
fn without_choices(members: &[Member<'_>]) -> Option<Edit> {
    match members.iter().find(|member| member.name() == "choices") {
        Some(choices) if choices.value == "[]" => None,
        Some(choices) => Some(Edit { range: choices.value_span.clone(), replacement: b"[]".to_vec() }),
        None => {
            let start = members.first()?.span.start;
            Some(Edit { range: start..start, replacement: br#""choices":[],"#.to_vec() })
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Chunks of all kinds, before and after a value.
    const FRAMES: [(&str, &str); 13] = [
        (r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"#, r#"},"finish_reason":null}]}"#),
        (r#"{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"#, r#"}}],"usage":null}"#),
        (r#"{"choices":[{"index":1,"delta":{"content":"#, r#"}}],"x":"","model":"m"}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":"#, r#"},"finish_reason":"stop"}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"refusal":"#, r#","content":"both"}}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":"#, r#","content":"twice"}}],"choices":[]}"#),
        (r#"{"choices":[{"delta":{"content":"#, r#"}},{"index":1,"delta":{"content":"b"}}]}"#),
        (r#"{"choices":[{"delta":{"content":"#, r#"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#),
        ("{\"choices\": [{\"delta\":\n{\"content\":", "}\n}]}"),
        (r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"#, r#"}}]}}]}"#),
        (r#"{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"#, r#"}}]}}]}"#),
        (r#"{"choices":[{"delta":{"content":"#, r#"},"usage":{"prompt_tokens":3,"completion_tokens":2}}]}"#),
        (r#"{"choices":[{"index":0,"delta":{"content":"#, r#"}}],"usage":{"completion_tokens":2}}"#),
    ];

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => r#""[a-zé \\n"]{0,6}""#.prop_map(|text: String| text),
            4 => "[^\u{0}]{0,80}".prop_map(|text| serde_json::Value::from(text).to_string()),
            1 => Just(r#""half \ud83d""#.to_owned()),
            1 => Just(r#""","finish_reason":"stop","x":"""#.to_owned()),
            1 => Just(r#"""},"delta":{"content":"""#.to_owned()),
            1 => Just(r#""\u0000""#.to_owned()),
            1 => Just("\"spaced\" \t".to_owned()),
            1 => Just(" \"spaced\"".to_owned()),
            1 => Just("7".to_owned()),
            1 => Just("null".to_owned()),
        ]
    }

    proptest! {
        /// A run of chunks of one kind, so that most are relayed by a template, among others.
        #[test]
        fn a_template_relays_and_measures_as_parsing_does(
            runs in prop::collection::vec(
                (prop::sample::select(&FRAMES[..]), prop::collection::vec(text(), 1..5)),
                1..6,
            ),
            include_usage in any::<bool>(),
        ) {
            let mut with = (OpenAiStream::new("front", include_usage), Metered::default(), BytesMut::new());
            let mut without = (OpenAiStream::new("front", include_usage), Metered::default(), BytesMut::new());
            without.0.templates_left = 0;
            for ((before, after), texts) in runs {
                for text in texts {
                    let chunk = format!("{before}{text}{after}");
                    let [a, b] = [&mut with, &mut without].map(|(stream, metered, out)| {
                        let relayed = stream.event(Event { name: "message", data: &chunk, is_error: false }, metered, out);
                        (format!("{relayed:?}"), format!("{metered:?}"), out.clone(), stream.is_complete())
                    });
                    prop_assert_eq!(a, b, "{}", chunk);
                }
            }
        }
    }

    #[test]
    fn chunks_that_differ_in_their_text_are_relayed_by_a_template() {
        let (mut stream, mut metered, mut out) =
            (OpenAiStream::new("front", false), Metered::default(), BytesMut::new());
        let chunk =
            |text: &str| format!(r#"{{"model":"m","choices":[{{"delta":{{"content":"{text}"}}}}],"usage":null}}"#);
        let event = |data: &str, stream: &mut OpenAiStream, metered: &mut Metered, out: &mut BytesMut| {
            stream.event(Event { name: "message", data, is_error: false }, metered, out).expect("a chunk")
        };
        event(&chunk("one"), &mut stream, &mut metered, &mut out);
        let template = stream.template.as_ref().expect("a template");
        out.clear();
        assert_eq!(template.relay(&chunk("second"), &mut metered, &mut out), Some(true));
        assert_eq!(out, "data: {\"model\":\"front\",\"choices\":[{\"delta\":{\"content\":\"second\"}}]}\n\n");
        assert_eq!(metered.text_bytes, 9);
        assert_eq!(template.relay(&chunk(""), &mut metered, &mut out), Some(false));
        assert_eq!(template.relay(r#"{"model":"n"}"#, &mut metered, &mut out), None);
        for number in 0..2 * TEMPLATES_MAX {
            let data = chunk("x").replace("\"m\"", &format!("\"m{number}\""));
            event(&data, &mut stream, &mut metered, &mut out);
        }
        assert_eq!(stream.templates_left, 0, "so many are made, and no more");
    }

    /// The data that a client gets for these chunks.
    fn relayed(chunks: &[&str], include_usage: bool) -> Vec<String> {
        let (mut stream, mut metered, mut out) =
            (OpenAiStream::new("m", include_usage), Metered::default(), BytesMut::new());
        for data in chunks {
            stream.event(Event { name: "message", data, is_error: false }, &mut metered, &mut out).expect("a chunk");
        }
        let text = String::from_utf8(out.to_vec()).expect("text");
        text.split_terminator("\n\n").map(|event| event.trim_start_matches("data: ").to_owned()).collect()
    }

    #[test]
    fn calls_get_the_index_that_the_server_left_out_and_the_reason_that_it_did_not_give() {
        let chunk = |choice: &str| format!(r#"{{"model":"m","choices":[{choice}]}}"#);
        let stop = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
        let tool_calls = r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#;
        for (calls, wanted) in [
            (r#"{"id":"a","function":{"name":"f"}}"#, r#"{"index":0,"id":"a","function":{"name":"f"}}"#),
            (r#"{ "id":"a","index":null}"#, r#"{ "id":"a","index":0}"#),
            (r#"{"index":"0","id":"a"}"#, r#"{"index":0,"id":"a"}"#),
            (r#"{"index":0.0,"id":"a"},{"id":"a"}"#, r#"{"index":0,"id":"a"},{"index":0,"id":"a"}"#),
            (r#"{"id":"a"},{"id":"b"}"#, r#"{"index":0,"id":"a"},{"index":1,"id":"b"}"#),
            (r#"{"id":"a"},{},{ }"#, r#"{"index":0,"id":"a"},{"index":0},{"index":0 }"#),
            (r#"[{"id":"a"}],"a",{"id":"a"}"#, r#"[{"id":"a"}],"a",{"index":0,"id":"a"}"#),
        ] {
            let [calls, wanted] =
                [calls, wanted].map(|calls| chunk(&format!(r#"{{"index":0,"delta":{{"tool_calls":[{calls}]}}}}"#)));
            assert_eq!(relayed(&[&calls, &chunk(stop)], false), [wanted, chunk(tool_calls)]);
        }
        // Nothing deviates: OpenAI says `stop` where the request names the tool. The other choice has no calls.
        let named = chunk(r#"{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}}"#);
        assert_eq!(relayed(&[&named, &chunk(stop)], false), [named, chunk(stop)]);
        let second = chunk(r#"{"index":1,"delta":{"tool_calls":[{"index":1,"id":"a"}]}}"#);
        let without = second.replace(r#""index":1,"id""#, r#""id""#);
        assert_eq!(
            relayed(&[&without, &chunk(stop)], false),
            [second.replace(r#""index":1,"id""#, r#""index":0,"id""#), chunk(stop)]
        );
    }

    #[test]
    fn a_chunk_after_the_finish_goes_to_the_client_unless_it_has_the_usage_alone() {
        let end = r#"{"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
        let usage = r#""usage":{"prompt_tokens":3,"completion_tokens":2}"#;
        for (choice, is_relayed) in [
            (r#"{"index":0,"delta":{}}"#, false),
            (r#"{"index":0,"delta":{"role":"assistant","content":"","tool_calls":[]},"finish_reason":"stop"}"#, false),
            (r#"{"index":0}"#, false),
            (r#"{"index":0,"delta":{"content":"x"}}"#, true),
            (r#"{"index":0,"delta":{"annotations":[{"type":"url_citation"}]}}"#, true),
            (r#"{"index":0,"delta":{},"logprobs":{"content":[]}}"#, true),
            (r#"{"index":1,"delta":{"role":"assistant"}}"#, true),
        ] {
            let chunk = format!(r#"{{"model":"m","choices":[{choice}],{usage}}}"#);
            for include_usage in [false, true] {
                let went = relayed(&[end, &chunk], include_usage);
                assert_eq!(went.len(), 1 + usize::from(is_relayed), "{choice} {went:?}");
            }
        }
        // Before the finish it is the beginning of a choice, and without usage it is not a usage chunk.
        let beginning = format!(r#"{{"model":"m","choices":[{{"index":0,"delta":{{"role":"assistant"}}}}],{usage}}}"#);
        assert_eq!(relayed(&[&beginning, end], false).len(), 2);
        assert_eq!(relayed(&[end, r#"{"model":"m","choices":[{"index":0,"delta":{}}]}"#], false).len(), 2);
        let cited = format!(r#"{{"model":"m","citations":["a"],"choices":[{{"index":0,"delta":{{}}}}],{usage}}}"#);
        let went = relayed(&[end, &cited], false);
        assert!(went.len() == 2 && went[1].contains("citations") && !went[1].contains("usage"), "{went:?}");
        let in_choice = format!(r#"{{"model":"m","choices":[{{"index":0,"delta":{{}},{usage}}}]}}"#);
        assert_eq!(relayed(&[end, &in_choice], true).len(), 1);
    }

    #[test]
    fn a_chunk_that_is_long_only_as_received_becomes_no_template() {
        let (mut stream, mut metered, mut out) =
            (OpenAiStream::new("front", false), Metered::default(), BytesMut::new());
        let long = "x".repeat(5_000);
        let data = format!(r#"{{"model":"m","choices":[{{"delta":{{"content":"a"}}}}],"x_groq":"{long}"}}"#);
        stream.event(Event { name: "message", data: &data, is_error: false }, &mut metered, &mut out).expect("a chunk");
        assert_eq!(out, "data: {\"model\":\"front\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n");
        assert!(stream.template.is_none(), "a stream would keep {} bytes", stream.held_bytes());
    }
}
