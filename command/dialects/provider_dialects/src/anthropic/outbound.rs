//! Writes the intermediate form's request as an Anthropic body.
//!
//! System messages are joined, in order, into `system`; if a part of them is to be cached, they are blocks there. A cache
//! point marks the block before it, or none if that cannot be marked. Consecutive messages of one role are merged, with tool results
//! first. Schemas of a response and of strict tools are fitted, see [`schema`]. Arguments of an earlier call that are not a JSON object are
//! wrapped as `{"arguments_raw"}`, so that a conversation can go on after a model's mistake.
//!
//! Refused: schemas with open objects, a thinking budget that Anthropic would refuse, a request with system messages
//! only. Dropped on purpose, besides what the row of the table ignores: blank text, the name of a response format,
//! thinking if a tool is forced (Anthropic takes only one of them), and `tool_choice` without tools.

use std::borrow::Cow;

use bytes::Bytes;
use events::refusal::Refusal;
use intermediate::chat::{
    Block, CacheLifetime, ChatRequest, DocumentSource, ImageSource, Reasoning, ReasoningBlock, ResponseFormat, Role,
    Thinking, Tool, ToolCall, ToolChoice, ToolResult,
};
use intermediate::fields::Path;
use intermediate::json;
use serde::Serialize;
use serde_json::value::RawValue;

use super::schema;
use crate::turns::{self, ConversationTurn, unless_blank};
use crate::{CallIdRule, OutboundTarget};

/// The smallest thinking budget that Anthropic takes.
const THINKING_BUDGET_MIN: u64 = 1024;

#[derive(Serialize)]
struct AnthropicBody<'a> {
    /// In the path where another hosts the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    /// In place of the header.
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<System<'a>>,
    messages: Vec<AnthropicMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnthropicDefinition<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<AnthropicToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ClaudeThinking<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<AnthropicOutputConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<User<'a>>,
}

#[derive(Serialize)]
struct AnthropicMessage<'a> {
    role: &'static str,
    content: Vec<AnthropicContentBlock<'a>>,
}

impl ConversationTurn for AnthropicMessage<'_> {
    fn new(role: &'static str, blocks: usize) -> Self {
        Self { role, content: Vec::with_capacity(blocks) }
    }

    fn role(&self) -> &'static str {
        self.role
    }

    fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    fn push_text(&mut self, text: &'static str) {
        self.content.push(plain_text(text));
    }

    fn trim_end(&mut self) {
        if let Some(AnthropicContentBlock::Text { text, .. }) = self.content.last_mut() {
            *text = text.trim_end();
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AnthropicContentBlock<'a> {
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<AnthropicContentBlock<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: AnthropicSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: AnthropicSource<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

impl AnthropicContentBlock<'_> {
    /// Where the mark of a cache point goes; `None` for blocks that take none.
    const fn cache_control(&mut self) -> Option<&mut Option<CacheControl>> {
        match self {
            Self::ToolResult { cache_control, .. }
            | Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::Document { cache_control, .. }
            | Self::ToolUse { cache_control, .. } => Some(cache_control),
            Self::Thinking { .. } | Self::RedactedThinking { .. } => None,
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum AnthropicSource<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: &'a str },
}

#[derive(Serialize)]
#[serde(untagged)]
enum System<'a> {
    Text(String),
    Blocks(Vec<AnthropicContentBlock<'a>>),
}

#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl From<CacheLifetime> for CacheControl {
    fn from(lifetime: CacheLifetime) -> Self {
        let ttl = match lifetime {
            CacheLifetime::Short => None,
            CacheLifetime::Long => Some("1h"),
        };
        Self { r#type: "ephemeral", ttl }
    }
}

#[derive(Serialize)]
struct AnthropicDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    input_schema: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct AnthropicToolChoice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

#[derive(PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClaudeThinking<'a> {
    Disabled,
    Adaptive {
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'a str>,
    },
    Enabled {
        budget_tokens: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        display: Option<&'a str>,
    },
}

#[derive(Serialize)]
struct AnthropicOutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
}

#[derive(Serialize)]
struct OutputFormat<'a> {
    r#type: &'static str,
    schema: Cow<'a, RawValue>,
}

#[derive(Serialize)]
struct User<'a> {
    user_id: &'a str,
}

/// The body for Anthropic. Errors: `INVALID_REQUEST` for a field without counterpart.
pub fn request_body(chat: &ChatRequest, target: &OutboundTarget<'_>) -> Result<Bytes, Refusal> {
    Ok(json::written(&AnthropicBody { model: Some(target.model), ..body(chat, target)? }).into())
}

/// The body for Anthropic's models elsewhere. Errors: those of [`request_body`].
pub fn hosted_body(chat: &ChatRequest, target: &OutboundTarget<'_>, version: &'static str) -> Result<Bytes, Refusal> {
    Ok(json::written(&AnthropicBody { anthropic_version: Some(version), ..body(chat, target)? }).into())
}

fn body<'a>(chat: &'a ChatRequest, target: &OutboundTarget<'a>) -> Result<AnthropicBody<'a>, Refusal> {
    Ok(AnthropicBody {
        model: None,
        anthropic_version: None,
        max_tokens: target.output_cap.tokens,
        system: system(chat, target.system_prefix),
        messages: messages(chat)?,
        temperature: chat.sampling.temperature.as_deref(),
        top_p: chat.sampling.top_p.as_deref(),
        top_k: chat.sampling.top_k,
        stop_sequences: &chat.stop,
        stream: chat.stream.then_some(true),
        tools: definitions(&chat.tools)?,
        tool_choice: tool_choice(chat),
        thinking: thinking(chat, target.output_cap.tokens)?,
        output_config: output_config(chat)?,
        metadata: chat.user.as_deref().map(|user_id| User { user_id }),
    })
}

fn system<'a>(chat: &'a ChatRequest, prefix: Option<&'a str>) -> Option<System<'a>> {
    let messages = chat.messages.iter().filter(|message| message.role == Role::System);
    let blocks = messages.flat_map(|message| &message.content);
    if blocks.clone().any(|block| matches!(block, Block::CachePoint(_))) {
        let prefix = prefix.and_then(unless_blank);
        let mut content: Vec<_> = prefix.into_iter().map(plain_text).collect();
        add_blocks(blocks, &mut content);
        return (!content.is_empty()).then_some(System::Blocks(content));
    }
    let texts = blocks.filter_map(Block::text);
    let texts: Vec<&str> = prefix.into_iter().chain(texts).filter_map(unless_blank).collect();
    (!texts.is_empty()).then(|| System::Text(texts.join("\n\n")))
}

fn messages(chat: &ChatRequest) -> Result<Vec<AnthropicMessage<'_>>, Refusal> {
    let mut messages: Vec<AnthropicMessage<'_>> = Vec::with_capacity(chat.messages.len());
    for message in &chat.messages {
        let role = match message.role {
            Role::System => continue,
            Role::User | Role::Tool => turns::USER,
            Role::Assistant => turns::ASSISTANT,
        };
        if let Some(turn) = turns::turn_of(&mut messages, role, message.content.len()) {
            add_blocks(&message.content, &mut turn.content);
        }
    }
    turns::end(&mut messages);
    for turn in &mut messages {
        turn.content.sort_by_key(|content_block| !matches!(content_block, AnthropicContentBlock::ToolResult { .. }));
    }
    match messages.is_empty() {
        true => Err(Path::Root.field("messages").refuse("must have one that is not a system message and not empty")),
        false => Ok(messages),
    }
}

/// Adds blocks; a cache point marks the one before it.
fn add_blocks<'a>(blocks: impl IntoIterator<Item = &'a Block>, content: &mut Vec<AnthropicContentBlock<'a>>) {
    for block in blocks {
        match block {
            Block::CachePoint(lifetime) => {
                if let Some(mark) = content.last_mut().and_then(AnthropicContentBlock::cache_control) {
                    *mark = Some((*lifetime).into());
                }
            }
            block => content.extend(content_block(block)),
        }
    }
}

const fn plain_text(text: &str) -> AnthropicContentBlock<'_> {
    AnthropicContentBlock::Text { text, cache_control: None }
}

fn content_block(block: &Block) -> Option<AnthropicContentBlock<'_>> {
    Some(match block {
        Block::Text(text) => plain_text(unless_blank(text)?),
        Block::Image(image) => AnthropicContentBlock::Image {
            source: match &image.source {
                ImageSource::Url(url) => AnthropicSource::Url { url },
                ImageSource::Inline { media_type, base64 } => AnthropicSource::Base64 { media_type, data: base64 },
            },
            cache_control: None,
        },
        Block::Document(document) => AnthropicContentBlock::Document {
            source: match &document.source {
                DocumentSource::Url(url) => AnthropicSource::Url { url },
                DocumentSource::Inline { media_type, base64 } => AnthropicSource::Base64 { media_type, data: base64 },
                DocumentSource::Text(data) => AnthropicSource::Text { media_type: "text/plain", data },
            },
            title: document.title.as_deref(),
            cache_control: None,
        },
        Block::ToolCall(ToolCall { id, name, .. }) if id.is_empty() && name.is_empty() => return None,
        Block::ToolCall(call) => {
            let input = call.arguments_object()?;
            AnthropicContentBlock::ToolUse {
                id: CallIdRule::CLAUDE.fitted(&call.id),
                name: &call.name,
                input,
                cache_control: None,
            }
        }
        Block::ToolResult(ToolResult { id, content, is_error }) => {
            let mut inside = Vec::with_capacity(content.len());
            add_blocks(content, &mut inside);
            let (tool_use_id, is_error) = (CallIdRule::CLAUDE.fitted(id), *is_error);
            AnthropicContentBlock::ToolResult { tool_use_id, content: inside, is_error, cache_control: None }
        }
        Block::Reasoning(ReasoningBlock { redacted: Some(data), .. }) => {
            AnthropicContentBlock::RedactedThinking { data }
        }
        Block::Reasoning(thought) => {
            AnthropicContentBlock::Thinking { thinking: &thought.text, signature: thought.unmarked_signature()? }
        }
        Block::CachePoint(_) => return None,
    })
}

fn definitions(tools: &[Tool]) -> Result<Vec<AnthropicDefinition<'_>>, Refusal> {
    let mut definitions = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        definitions.push(AnthropicDefinition {
            name: &tool.name,
            description: tool.description.as_deref(),
            input_schema: schema::of_tool(tool, at)?,
            strict: tool.strict.filter(|strict| *strict),
            cache_control: tool.cache_point.map(Into::into),
        });
    }
    Ok(definitions)
}

fn tool_choice(chat: &ChatRequest) -> Option<AnthropicToolChoice<'_>> {
    let one_at_a_time = chat.parallel_tool_calls == Some(false);
    if chat.tools.is_empty() {
        return None;
    }
    let (kind, name) = match &chat.tool_choice {
        None if !one_at_a_time => return None,
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Named(name)) => ("tool", Some(name.as_str())),
    };
    Some(AnthropicToolChoice { r#type: kind, name, disable_parallel_tool_use: one_at_a_time && kind != "none" })
}

/// `thinking` for Claude, wherever it runs. Models of the fifth generation think unless they are told not to. Errors: a budget
/// that Claude would refuse.
pub fn thinking(chat: &ChatRequest, max_tokens: u64) -> Result<Option<ClaudeThinking<'_>>, Refusal> {
    let Some(Reasoning { thinking: Some(thinking), display, .. }) = &chat.reasoning else { return Ok(None) };
    let forced = matches!(chat.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
    let display = display.as_deref();
    match *thinking {
        Thinking::BudgetTokens(tokens) if !(THINKING_BUDGET_MIN..max_tokens).contains(&tokens) => {
            let reason = format!("must be at least {THINKING_BUDGET_MIN} and less than the output cap, {max_tokens}");
            Err(Refusal::invalid("reasoning.budget_tokens", reason))
        }
        Thinking::Off => Ok(Some(ClaudeThinking::Disabled)),
        _ if forced => Ok(None),
        Thinking::Adaptive | Thinking::ByEffort => Ok(Some(ClaudeThinking::Adaptive { display })),
        Thinking::BudgetTokens(budget_tokens) => Ok(Some(ClaudeThinking::Enabled { budget_tokens, display })),
    }
}

/// The effort of Claude's thoughts and of its text; its lowest is `low`.
pub fn effort(chat: &ChatRequest) -> Option<&str> {
    match chat.reasoning.as_ref()?.effort.as_deref()? {
        "none" => None,
        "minimal" => Some("low"),
        effort => Some(effort),
    }
}

fn output_config(chat: &ChatRequest) -> Result<Option<AnthropicOutputConfig<'_>>, Refusal> {
    let effort = effort(chat);
    let format = match &chat.response_format {
        None | Some(ResponseFormat::Text | ResponseFormat::JsonObject) => None,
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            Some(OutputFormat { r#type: "json_schema", schema: schema::fitted(schema, &schema::output_path())? })
        }
    };
    let is_empty = effort.is_none() && format.is_none();
    Ok((!is_empty).then_some(AnthropicOutputConfig { effort, format }))
}
