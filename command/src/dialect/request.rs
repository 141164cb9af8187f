//! What a client sent: checked once, then asked for its facts and for the body that each target needs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use events::wire::Refusal;

use super::{OutboundTarget, Surface, UpstreamDialect, anthropic, json, openai};
use crate::chat::{Block, ChatRequest, ImageSource, Reasoning};
use crate::dialect::fields::Path;

/// The most tokens that one image may be billed at. The dearest published rule is OpenAI's for gpt-4o-mini: 2,833
/// tokens and 5,667 for each of at most 8 tiles (2048 by 768 pixels in tiles of 512). Others are far below: Together
/// 6,404, Anthropic 4,784. No provider's use of `detail` is relied on.
pub const IMAGE_TOKENS_MAX: u64 = 2_833 + 8 * 5_667;

/// What a provider adds of its own where there are tools or an output format: Anthropic's tool-use prompt is published
/// at up to 530 tokens, and its prompt for structured output comes on top without a figure.
pub const TOOL_PROMPT_TOKENS_MAX: u64 = 1_024;

/// What a chat template adds of its own to every prompt: dates, channels, a default system prompt. Some 70 tokens in
/// gpt-oss's, 30 in Llama's. The template's share of each message is covered by the JSON around it.
pub const TEMPLATE_TOKENS_MAX: u64 = 128;

/// A chat request as it was received, known to be well formed and priceable.
pub struct ClientRequest {
    surface: Surface,
    body: Bytes,
    facts: Facts,
    form: Form,
}

/// What the pipeline needs to know of a request, whatever its surface.
pub(super) struct Facts {
    pub model: String,
    pub streamed: bool,
    /// The client asked for the usage chunk of an OpenAI stream.
    pub include_usage: bool,
    pub max_output_tokens: Option<u64>,
    /// What the client's own fields need of an output cap: a budget to think in, a least length.
    pub output_tokens_needed: u64,
    pub choices: u64,
    pub metadata: BTreeMap<String, String>,
    pub images: Images,
    /// Tools or an output format are there.
    pub has_tools: bool,
    /// Fields that change the cost.
    pub unpriced: Vec<openai::Unpriced>,
}

/// Images of a request: how many, and how many bytes of the body are their base64.
#[derive(Clone, Copy, Default)]
pub(super) struct Images {
    pub count: u64,
    pub base64_bytes: u64,
}

enum Form {
    Native(Box<ChatRequest>),
    OpenAi(openai::ClientBody),
}

impl ClientRequest {
    /// Checks a body of at most 32 MiB. Errors: `INVALID_REQUEST` for what is malformed, `MODEL_UNPRICED` for parts of
    /// messages that have no price. Fields that change the cost are refused by [`Self::unpriced`].
    pub fn parse(surface: Surface, body: Bytes) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(&body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        let (facts, form) = match surface {
            Surface::Native => {
                json::check(text).map_err(|fault| Path::Root.fault(fault))?;
                let chat = ChatRequest::read(text)?;
                (native_facts(&chat), Form::Native(Box::new(chat)))
            }
            Surface::OpenAi => {
                let (facts, spans) = openai::read_client_body(text)?;
                (facts, Form::OpenAi(spans))
            }
        };
        Ok(Self { surface, body, facts, form })
    }

    pub const fn surface(&self) -> Surface {
        self.surface
    }

    /// The frontend model that is asked for: 1 to 256 characters.
    pub fn model(&self) -> &str {
        &self.facts.model
    }

    pub const fn streamed(&self) -> bool {
        self.facts.streamed
    }

    /// Whether the client of an OpenAI stream wants the usage chunk.
    pub const fn include_usage(&self) -> bool {
        self.facts.include_usage
    }

    /// The client's own cap, from 1 to [`crate::chat::read::OUTPUT_TOKENS_MAX`]; null is no cap.
    pub const fn max_output_tokens(&self) -> Option<u64> {
        self.facts.max_output_tokens
    }

    /// How much of an output cap the client's own fields take up before there is room for an answer: one that is not
    /// above it would be refused upstream.
    pub const fn output_tokens_needed(&self) -> u64 {
        self.facts.output_tokens_needed
    }

    /// What the client calls its cap, for refusals that are about it.
    pub fn cap_field(&self) -> &'static str {
        match &self.form {
            Form::Native(_) => "max_output_tokens",
            Form::OpenAi(body) => body.cap_field.as_str(),
        }
    }

    /// How many answers are asked for: 1 to 128. The cap holds for each.
    pub const fn choices(&self) -> u64 {
        self.facts.choices
    }

    /// At most 16 pairs.
    pub const fn metadata(&self) -> &BTreeMap<String, String> {
        &self.facts.metadata
    }

    /// As it was received; empty once what was read is forgotten.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Drops the body as it was received where all that is still needed was read from it. From then on
    /// [`Self::body`] is empty, and [`Self::input_tokens_bound`] bounds nothing.
    pub fn forget_what_was_read(&mut self) {
        match self.form {
            Form::Native(_) => self.body = Bytes::new(),
            Form::OpenAi(_) => {}
        }
    }

    /// Upper bound of the prompt's tokens: a token is at least one byte of the body. Base64 of images is taken out and
    /// their dearest published price put in, with what templates and tool prompts add. A target's `system_prefix` is
    /// not in it: add its bytes.
    pub fn input_tokens_bound(&self) -> u64 {
        let Images { count, base64_bytes } = self.facts.images;
        let bytes = u64::try_from(self.body.len()).unwrap_or(u64::MAX);
        let tool_prompt = if self.facts.has_tools { TOOL_PROMPT_TOKENS_MAX } else { 0 };
        bytes
            .saturating_sub(base64_bytes)
            .saturating_add(count.saturating_mul(IMAGE_TOKENS_MAX))
            .saturating_add(TEMPLATE_TOKENS_MAX + tool_prompt)
    }

    /// `MODEL_UNPRICED` for the first field that changes what the request costs and is not among those that a provider's
    /// row allows: service tiers, other models, searches, input from elsewhere, other caps.
    pub fn unpriced(&self, allowed: &BTreeSet<String>) -> Option<&Refusal> {
        let refused = self.facts.unpriced.iter().find(|field| !allowed.contains(field.name));
        refused.map(|field| &field.refusal)
    }

    /// The body for one target. From the OpenAI surface to an OpenAI-compatible target the client's bytes are edited
    /// in place; everything else is translated. Errors: as [`Self::unpriced`], and `INVALID_REQUEST` for what the
    /// target's dialect has no counterpart for and whose loss would change what is answered; what is left out knowingly
    /// is listed at each dialect.
    pub fn upstream_body(&self, dialect: UpstreamDialect, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
        if let Some(refusal) = self.unpriced(target.allowed_fields) {
            return Err(refusal.clone());
        }
        match (&self.form, dialect) {
            (Form::OpenAi(spans), UpstreamDialect::OpenAi) => {
                Ok(openai::edited_body(&self.body, spans, self.facts.streamed, target))
            }
            (Form::OpenAi(_), UpstreamDialect::Anthropic) => {
                let text = std::str::from_utf8(&self.body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
                anthropic::request_body(&openai::canonical(text)?, target)
            }
            (Form::Native(chat), UpstreamDialect::OpenAi) => openai::request_body(chat, target),
            (Form::Native(chat), UpstreamDialect::Anthropic) => anthropic::request_body(chat, target),
        }
    }
}

fn native_facts(chat: &ChatRequest) -> Facts {
    Facts {
        model: chat.model.clone(),
        streamed: chat.stream,
        include_usage: false,
        max_output_tokens: chat.max_output_tokens,
        output_tokens_needed: match chat.reasoning {
            Some(Reasoning::BudgetTokens(tokens)) => tokens,
            Some(Reasoning::Effort(_)) | None => 0,
        },
        choices: 1,
        metadata: chat.metadata.clone(),
        images: chat.messages.iter().fold(Images::default(), |images, message| images.of(&message.content)),
        has_tools: !chat.tools.is_empty() || chat.response_format.is_some(),
        unpriced: Vec::new(),
    }
}

impl Images {
    /// With those in these blocks, and in the tool results among them.
    fn of(self, blocks: &[Block]) -> Self {
        blocks.iter().fold(self, |images, block| match block {
            Block::Image(image) => images.and(match &image.source {
                ImageSource::Url(_) => 0,
                ImageSource::Inline { base64, .. } => base64.len(),
            }),
            Block::ToolResult(result) => images.of(&result.content),
            Block::Text(_) | Block::ToolCall(_) | Block::Reasoning(_) => images,
        })
    }

    /// With one more, of which so many bytes are base64.
    pub(super) fn and(self, base64_bytes: usize) -> Self {
        let base64_bytes = u64::try_from(base64_bytes).unwrap_or(0);
        Self { count: self.count + 1, base64_bytes: self.base64_bytes.saturating_add(base64_bytes) }
    }
}

#[cfg(test)]
mod tests {
    use events::wire::ErrorCode;

    use super::*;
    use crate::dialect::{CapField, NO_FIELDS};

    const ASK: &str = r#""model":"m","messages":[{"role":"user","content":"hello"}]"#;

    fn parse(surface: Surface, body: impl Into<Bytes>) -> Result<ClientRequest, Refusal> {
        ClientRequest::parse(surface, body.into())
    }

    fn target() -> OutboundTarget<'static> {
        OutboundTarget {
            model: "b",
            max_output_tokens: 9,
            cap_field: CapField::MaxTokens,
            system_prefix: None,
            allowed_fields: &NO_FIELDS,
        }
    }

    fn openai(more: &str) -> Result<ClientRequest, Refusal> {
        parse(Surface::OpenAi, format!("{{{ASK}{more}}}"))
    }

    #[test]
    fn facts_are_read_on_both_surfaces() {
        let request = openai(
            r#","stream":true,"stream_options":{"include_usage":true},"n":3,"max_tokens":7,"metadata":{"a":"b"}"#,
        );
        let request = request.ok().unwrap();
        assert_eq!((request.model(), request.streamed(), request.include_usage()), ("m", true, true));
        assert_eq!((request.choices(), request.max_output_tokens()), (3, Some(7)));
        assert_eq!(request.metadata()["a"], "b");
        let native = parse(Surface::Native, format!("{{{ASK},\"max_output_tokens\":5}}")).ok().unwrap();
        assert_eq!((request.cap_field(), native.cap_field()), ("max_tokens", "max_output_tokens"));
        let newer = openai(r#","max_tokens":null,"max_completion_tokens":7"#).ok().unwrap();
        assert_eq!(newer.cap_field(), "max_completion_tokens");
        assert_eq!((native.model(), native.streamed(), native.choices()), ("m", false, 1));
        assert_eq!(native.max_output_tokens(), Some(5));
    }

    #[test]
    fn what_is_malformed_is_400_on_both_surfaces() {
        let deep = format!(r#"{{"messages":{}"#, "[".repeat(100_000));
        for body in [
            "",
            "{",
            "[]",
            "7",
            "null",
            "\"x\"",
            r#"{"model":"#,
            "\u{feff}{}",
            "{}",
            "{} x",
            &deep,
            &"[".repeat(100_000),
        ] {
            for surface in [Surface::Native, Surface::OpenAi] {
                let refusal = parse(surface, body.to_owned()).err().expect(body);
                assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{body:.40}");
            }
        }
        assert!(parse(Surface::OpenAi, &b"\xff\xfe"[..]).is_err());
        assert!(parse(Surface::Native, &b"{\"model\":\"\xc3\"}"[..]).is_err());
    }

    #[test]
    fn a_nul_anywhere_is_400_and_a_backslash_before_it_is_not() {
        let say = |text: &str| format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}]}}"#);
        for surface in [Surface::Native, Surface::OpenAi] {
            assert!(parse(surface, say(r"a\u0000b")).is_err());
            assert!(parse(surface, say(r"a\\u0000b")).is_ok());
            assert!(parse(surface, say(r"a\\\u0000b")).is_err());
        }
    }

    #[test]
    fn openai_fields_that_matter_are_checked() {
        for (more, field) in [
            (r#","max_tokens":-5"#, "max_tokens"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":1.5"#, "max_tokens"),
            (r#","max_tokens":1e3"#, "max_tokens"),
            (r#","max_tokens":"7""#, "max_tokens"),
            (r#","max_tokens":1000000000000000000000000000000"#, "max_tokens"),
            (r#","max_tokens":1,"max_completion_tokens":1"#, "max_completion_tokens"),
            (r#","max_tokens":1,"max_tokens":1"#, "max_tokens"),
            (r#","max_tokens":1,"max_\u0074okens":9"#, "max_tokens"),
            (r#","MAX_TOKENS":1"#, "MAX_TOKENS"),
            (r#","N":2"#, "N"),
            (r#","N_Predict":2"#, "N_Predict"),
            (r#","n":0"#, "n"),
            (r#","n":129"#, "n"),
            (r#","stream":"yes""#, "stream"),
            (r#","stream_options":[]"#, "stream_options"),
            (r#","stream_options":{"include_usage":1}"#, "stream_options.include_usage"),
            (r#","maxTokens":1"#, "maxTokens"),
            (r#","max-completion-tokens":1"#, "max-completion-tokens"),
            (",\"max_token\u{17f}\":1", "max_token\u{17f}"),
            (r#","max_to\u212aens":1"#, "max_to\u{212a}ens"),
            (",\"anything\u{e9}\":1", "anything\u{e9}"),
            (r#","stream_options":{"Include_Usage":false}"#, "stream_options.Include_Usage"),
            (r#","stream_options":{"include_u\u017fage":false}"#, "stream_options.include_u\u{17f}age"),
            (r#","tools":[{"type":"function","Function":{"name":"f"}}]"#, "tools[0].Function"),
            (
                r#","tools":[{"type":"function","function":{"name":"f","na\u212ae":"g"}}]"#,
                "tools[0].function.na\u{212a}e",
            ),
            (r#","tool_choice":{"type":"function","function":{"Name":"f"}}"#, "tool_choice.function.Name"),
            (r#","response_format":{"type":"text","jsonSchema":{}}"#, "response_format.jsonSchema"),
            (
                r#","response_format":{"type":"json_schema","json_schema":{"\u017fchema":{}}}"#,
                "response_format.json_schema.\u{17f}chema",
            ),
            (r#","reasoning":{"max_to\u212aens":9}"#, "reasoning.max_to\u{212a}ens"),
            (r#","thinking":{"budgetTokens":9}"#, "thinking.budgetTokens"),
            (r#","metadata":{"a":{}}"#, "metadata.a"),
        ] {
            let refusal = openai(more).err().expect(more);
            assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()), "{more}");
        }
        for body in [
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","messages":{}}"#,
            r#"{"model":"m","messages":["hello"]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":7}]}"#,
            r#"{"model":"m","messages":[{"role":"user","Content":[]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"text":"no type"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","type":"input_audio"}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","Image_URL":{}}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","imageUrl":{}}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x","\u017f":1}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x","URL":"y"}}]}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x","\u017f":1}]}"#,
            r#"{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}"#,
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","Function":{}}]}]}"#,
            r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","\u212a":1}}]}]}"#,
            r#"{"model":7,"messages":[{"role":"user","content":"x"}]}"#,
            r#"{"messages":[{"role":"user","content":"x"}]}"#,
        ] {
            let refusal = parse(Surface::OpenAi, body).err().expect(body);
            assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{body}");
        }
        for more in [
            r#","max_tokens":null,"n":null,"stream":null,"stream_options":null,"metadata":null"#,
            r#","x":{"a":1,"a":2}"#,
            // Names that are the client's own may be any.
            r#","logit_bias":{"é":1},"metadata":{"naïve":"x"},"unknown":{"\u017f":1}"#,
            r#","tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"größe":{},"Type":{}}}}}]"#,
            r#","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"Größe":1,"Schema":2}}}"#,
        ] {
            assert!(openai(more).is_ok(), "{more}");
        }
    }

    #[test]
    fn a_name_that_is_not_ascii_is_refused_on_the_native_surface() {
        let native = |more: &str, inside: &str, block: &str| {
            let message = format!(r#"{{"role":"user","content":[{{"type":"text","text":"x"{block}}}]{inside}}}"#);
            parse(Surface::Native, format!(r#"{{"model":"m","messages":[{message}]{more}}}"#))
        };
        for (more, inside, block, field) in [
            (",\"max_output_token\u{17f}\":9", "", "", "max_output_token\u{17f}"),
            (r#","max_output_to\u212aens":9"#, "", "", "max_output_to\u{212a}ens"),
            ("", r#","\u017f":1"#, "", "messages[0].\u{17f}"),
            ("", "", r#","\u017f":1"#, "messages[0].content[0].\u{17f}"),
            (r#","tools":[{"name":"f","\u017ftrict":true}]"#, "", "", "tools[0].\u{17f}trict"),
            (r#","reasoning":{"\u017f":1}"#, "", "", "reasoning.\u{17f}"),
        ] {
            let refusal = native(more, inside, block).err().expect(field);
            assert_eq!((refusal.code, &refusal.details["field"]), (ErrorCode::InvalidRequest, &field.into()));
        }
        let own = r#","metadata":{"naïve":"x"},"tools":[{"name":"f","parameters":{"größe":{}}}]"#;
        assert!(native(own, "", "").is_ok());
    }

    /// Holds: event.unpriced
    #[test]
    fn what_has_no_price_is_422_for_every_provider_that_does_not_allow_it() {
        let allowing = |name: &str| BTreeSet::from([name.to_owned()]);
        for (more, field) in [
            (r#","service_tier":"priority""#, "service_tier"),
            (r#","modalities":["audio"]"#, "modalities[0]"),
            (r#","audio":{"voice":"x"}"#, "audio"),
            (r#","web_search_options":{}"#, "web_search_options"),
            (r#","plugins":[{"id":"web"}]"#, "plugins"),
            (r#","search_parameters":{"mode":"auto"}"#, "search_parameters"),
            (r#","enable_search":true"#, "enable_search"),
            (r#","models":["a"]"#, "models"),
            (r#","tools":[{"type":"function","function":{"name":"x"}},{"type":"web_search"}]"#, "tools[1]"),
            (r#","tools":[{"google_search":{}}]"#, "tools[0]"),
            (r#","prediction":{"type":"content","content":"x"}"#, "prediction"),
            (r#","speed":"fast""#, "speed"),
            (r#","best_of":3"#, "best_of"),
            (r#","n_predict":100000"#, "n_predict"),
            (r#","num_predict":-1"#, "num_predict"),
            (r#","chat_template":"{% for i in range(1000000) %}x{% endfor %}""#, "chat_template"),
            (r#","max_new_tokens":100000"#, "max_new_tokens"),
            (r#","max_output_tokens":100000"#, "max_output_tokens"),
            (r#","provider":{"order":["a"]}"#, "provider"),
            (r#","route":"fallback""#, "route"),
            (r#","transforms":["middle-out"]"#, "transforms"),
            (r#","data_sources":[{"type":"azure_search"}]"#, "data_sources"),
            (r#","extra_body":{"google":{"cached_content":"x"}}"#, "extra_body"),
            (r#","fallbacks":["a"]"#, "fallbacks"),
            (r#","n_cmpl":8"#, "n_cmpl"),
        ] {
            let request = openai(more).expect(more);
            let name = field.split('[').next().unwrap_or_default();
            for allowed in [BTreeSet::new(), allowing("metadata")] {
                let refusal = request.unpriced(&allowed).expect(more);
                assert_eq!(
                    (refusal.code, &refusal.details["field"]),
                    (ErrorCode::ModelUnpriced, &field.into()),
                    "{more}"
                );
                for dialect in [UpstreamDialect::OpenAi, UpstreamDialect::Anthropic] {
                    let target = OutboundTarget { allowed_fields: &allowed, ..target() };
                    assert_eq!(request.upstream_body(dialect, &target).unwrap_err().code, ErrorCode::ModelUnpriced);
                }
            }
            let allowed = allowing(name);
            let target = OutboundTarget { allowed_fields: &allowed, ..target() };
            assert!(request.unpriced(&allowed).is_none(), "{more}");
            let sent = request.upstream_body(UpstreamDialect::OpenAi, &target).expect(more);
            assert!(std::str::from_utf8(&sent).unwrap().contains(more), "{more}");
        }
        let two = openai(r#","models":["a"],"plugins":[{"id":"web"}]"#).ok().unwrap();
        assert_eq!(two.unpriced(&allowing("models")).unwrap().details["field"], "plugins");
        for part in ["input_audio", "file", "video_url", "document"] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"{part}"}}]}}]}}"#);
            assert_eq!(parse(Surface::OpenAi, body).err().expect(part).code, ErrorCode::ModelUnpriced, "{part}");
        }
        for more in [
            r#","service_tier":"auto""#,
            r#","service_tier":null"#,
            r#","enable_search":false"#,
            r#","modalities":["text"]"#,
            r#","transforms":[],"models":[],"provider":{}"#,
        ] {
            assert!(openai(more).expect(more).unpriced(&BTreeSet::new()).is_none(), "{more}");
        }
        for more in [r#","modalities":"audio""#, r#","tools":[7]"#, r#","tools":{}"#] {
            assert_eq!(openai(more).err().expect(more).code, ErrorCode::InvalidRequest, "{more}");
        }
    }

    /// Holds: admin.caps
    #[test]
    fn the_cap_goes_upstream_once_whatever_is_null() {
        let target = |cap_field| OutboundTarget { cap_field, ..target() };
        for more in [
            "",
            r#","max_tokens":null"#,
            r#","max_completion_tokens":null"#,
            r#","max_tokens":null,"max_completion_tokens":null"#,
            r#","max_completion_tokens":null,"max_tokens":null"#,
        ] {
            let request = openai(more).ok().unwrap();
            for cap_field in [CapField::MaxTokens, CapField::MaxCompletionTokens] {
                let body = request.upstream_body(UpstreamDialect::OpenAi, &target(cap_field)).unwrap();
                let body = std::str::from_utf8(&body).unwrap();
                let caps: Vec<_> = json::members(body)
                    .map(Result::unwrap)
                    .filter(|member| member.name() == cap_field.as_str())
                    .map(|member| member.value.to_owned())
                    .collect();
                assert_eq!(caps, ["9"], "{body}");
            }
        }
    }

    #[test]
    fn an_images_base64_is_not_counted_as_text() {
        let base64 = "A".repeat(1_000_000);
        let with = |url: &str| {
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image_\u0075rl","image_url":{{"url":"{url}"}}}}]}}]}}"#
            )
        };
        let bound = |body: String| parse(Surface::OpenAi, body).ok().unwrap().input_tokens_bound();
        let empty = bound(with("data:image/png;base64,"));
        assert_eq!(bound(with(&format!("data:image/png;base64,{base64}"))), empty);
        assert!(empty > IMAGE_TOKENS_MAX && empty < IMAGE_TOKENS_MAX + 400);
        assert!(bound(with("https://example.com/x.png")) > IMAGE_TOKENS_MAX);
        assert!(bound(with(&format!("data:text/plain,{base64}"))) > 1_000_000);
        let document = parse(Surface::OpenAi, with(&format!("data:application/pdf;base64,{base64}")));
        assert_eq!(document.err().map(|refusal| refusal.code), Some(ErrorCode::ModelUnpriced));
        let native = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"image","media_type":"image/png","data":"{base64}"}}]}}]}}"#
        );
        let native = parse(Surface::Native, native).ok().unwrap().input_tokens_bound();
        assert!(native > IMAGE_TOKENS_MAX && native < IMAGE_TOKENS_MAX + 400);
    }

    #[test]
    fn what_is_all_empty_is_refused_for_every_upstream() {
        let target = OutboundTarget { system_prefix: Some("p"), ..target() };
        let body = r#"{"model":"m","messages":[{"role":"user","content":[]}]}"#;
        let request = parse(Surface::Native, body).ok().unwrap();
        for dialect in [UpstreamDialect::OpenAi, UpstreamDialect::Anthropic] {
            let refusal = request.upstream_body(dialect, &target).unwrap_err();
            assert_eq!(refusal.details["field"], "messages", "{dialect:?}");
        }
    }

    #[test]
    fn a_refusal_is_short_whatever_the_client_calls_its_fields() {
        let long = "a".repeat(100_000);
        for body in [
            format!(r#"{{{ASK},"{long}":1,"{long}":1}}"#),
            format!(r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"{long}"}}]}}]}}"#),
            format!(r#"{{{ASK},"metadata":{{"{long}":"x"}}}}"#),
        ] {
            for surface in [Surface::Native, Surface::OpenAi] {
                let refusal = parse(surface, body.clone()).err().unwrap();
                assert!(refusal.message.len() < 1000, "{:.200}", refusal.message);
            }
        }
    }

    #[test]
    fn text_is_bounded_by_its_bytes_and_tools_by_their_prompt() {
        let plain = openai("").ok().unwrap().input_tokens_bound();
        assert_eq!(plain, ASK.len() as u64 + 2 + TEMPLATE_TOKENS_MAX);
        let tools = r#","tools":[{"type":"function","function":{"name":"x"}}]"#;
        let with_tools = openai(tools).ok().unwrap().input_tokens_bound();
        assert_eq!(with_tools, plain + tools.len() as u64 + TOOL_PROMPT_TOKENS_MAX);
    }
}
