//! Reads a body of the OpenAI surface in one pass: its facts, and the positions that are edited later.

use std::borrow::Cow;
use std::ops::Range;

use events::abilities::{Ability, AbilitySet};
use events::event::admin::OutputCapField;
use events::refusal::Refusal;
use intermediate::chat::read::{self, BlockCount, CHOICES_MAX, MESSAGES_MAX, OUTPUT_TOKENS_MAX};
use intermediate::chat::{ChatRequest, ImageUrl, is_plain_call_id};
use intermediate::facts::{
    AllowedThoughts, Directives, Documents, Facts, Images, RequestedCap, ReservedOutput, Unpriced,
    fitted_schema_tokens, needs_of_chat,
};
use intermediate::fields::{self, Fields, Path, refuse_misspelled};
use intermediate::json::{self, Kind, Member};

use super::canonical::canonical;
use super::known;
use crate::known::{check, check_tool};
use crate::priceable::{CACHE_CONTROL, FUNCTIONS, TOOLS};
use crate::{SurfaceRequest, documents, priceable};

/// Known top-level fields, besides those that change the cost; see [`known`].
#[rustfmt::skip]
const KNOWN: [&str; 26] = [
    "frequency_penalty", "function_call", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "model", "n", "parallel_tool_calls",
    "presence_penalty", "reasoning", "reasoning_effort", "response_format", "seed", "stop", "store", "stream",
    "stream_options", "temperature", "thinking", "tool_choice", "top_logprobs", "top_p", "user",
];

/// The positions in the client's body that are edited for a target.
pub struct OpenAiBodyPositions {
    pub model: Range<usize>,
    /// The value of `messages`.
    pub messages: Range<usize>,
    /// There is an id of a call for which [`is_plain_call_id`] does not hold.
    pub has_odd_call_ids: bool,
    pub cap: CapPosition,
    /// The value of `stream_options`, null included.
    pub stream_options: Option<Range<usize>>,
    /// End of the last member, where another may be added.
    pub members_end: usize,
}

/// The position of the output cap.
pub enum CapPosition {
    Absent,
    /// Members with a null value: one, or one of each name.
    Null(Vec<(OutputCapField, Range<usize>)>),
    /// The client's cap: its member, its value, and the member of the other name if that is null.
    Given {
        field: OutputCapField,
        member: Range<usize>,
        value: Range<usize>,
        other: Option<Range<usize>>,
    },
}

impl CapPosition {
    /// The client's name for its cap; `None` if it gave none.
    pub const fn given_field(&self) -> Option<OutputCapField> {
        match self {
            Self::Given { field, .. } => Some(*field),
            Self::Absent | Self::Null(_) => None,
        }
    }
}

impl SurfaceRequest for OpenAiBodyPositions {
    fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        let members = top_level(text)?;
        let find = |name: &str| members.iter().find(|member| member.name() == name);
        let at = |name: &'static str| Path::Root.field(name);
        let required = |name| find(name).ok_or_else(|| at(name).refuse("is required"));
        let given = |name: &str| find(name).map(|member| member.value).filter(|value| json::kind(value) != Kind::Null);

        let model = required("model")?;
        let messages = required("messages")?;
        let (cap, output_cap) = cap(&members)?;
        let MessageTotals { images, documents, cached_long, has_odd_call_ids, .. } = read_messages(messages.value)?;
        let (mut reserved_output, mut lets_think) = (ReservedOutput::default(), false);
        let (mut has_logprobs, mut unpriced, mut added_tokens) = (false, Vec::new(), 0_u64);
        unpriced.extend(cached_long);
        for member in &members {
            match member.name() {
                TOOLS | FUNCTIONS => {
                    let read =
                        if member.name() == TOOLS { priceable::unpriced_tools } else { priceable::unpriced_functions };
                    let tools = read(member.value)?;
                    unpriced.extend(tools.unpriced.into_iter().flatten());
                    added_tokens = added_tokens.saturating_add(tools.added_tokens);
                }
                "response_format" => {
                    let schema = json::field(member.value, "json_schema").unwrap_or_default();
                    added_tokens = added_tokens.saturating_add(fitted_schema_tokens(schema));
                }
                "logprobs" | "top_logprobs" => has_logprobs |= !matches!(member.value, "false" | "null"),
                name => unpriced.extend(priceable::unpriced_field(name, member.value)?),
            }
            unpriced.extend(priceable::reserve(&mut reserved_output, member.name(), member.value)?);
            lets_think |= priceable::lets_think(member.name(), member.value);
        }
        let stream_options = find("stream_options");
        let streamed = given("stream").map_or(Ok(false), |value| fields::boolean(value, &at("stream")))?;
        let thoughts = if lets_think { AllowedThoughts::Open } else { reserved_output.thoughts() };
        let facts = Facts {
            model: read::model_name(model.value, &at("model"))?,
            streamed,
            include_usage: match given("stream_options") {
                Some(value) => Fields::read(value, &at("stream_options"))?.boolean("include_usage")?.unwrap_or(false),
                None => false,
            },
            output_cap: Some(output_cap),
            reserved_output,
            thoughts,
            choices: given("n").map_or(Ok(1), |value| fields::count(value, CHOICES_MAX, &at("n")))?,
            has_logprobs,
            images,
            documents,
            added_tokens,
            has_tools: ["tools", "functions", "response_format"].iter().any(|name| given(name).is_some()),
            needs: needs_of_chat(streamed, images, documents)
                .union(members.iter().fold(AbilitySet::NONE, |needs, member| needs.union(needs_of(member))))
                .with_if(Ability::Reasoning, thoughts != AllowedThoughts::None),
            unpriced,
            directives: Directives {
                metadata: read::metadata(given("metadata"), &at("metadata"))?,
                // Servers differ in what they accept here: what is no text says nothing.
                session: given("prompt_cache_key")
                    .and_then(|value| serde_json::from_str(value).ok())
                    .filter(|session: &String| !session.is_empty()),
                ..Directives::default()
            },
        };
        let positions = Self {
            model: model.value_span.clone(),
            messages: messages.value_span.clone(),
            has_odd_call_ids,
            cap,
            stream_options: stream_options.map(|member| member.value_span.clone()),
            members_end: members.last().map_or(0, |member| member.span.end),
        };
        Ok((facts, positions))
    }

    fn chat<'a>(&'a self, body: &[u8]) -> Result<Cow<'a, ChatRequest>, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        canonical(text).map(Cow::Owned)
    }

    /// Compatible servers have two fields for a thinking budget.
    fn client_field(&self, field: &str, body: &[u8]) -> Option<String> {
        if field != "reasoning.budget_tokens" && field != "thinking" {
            return None;
        }
        let [thinking] = json::find(std::str::from_utf8(body).ok()?, ["thinking"]);
        thinking.is_none().then(|| "reasoning".to_owned())
    }
}

/// The ability that a field asks for; servers differ in how it may be written, and what is not understood needs nothing.
fn needs_of(member: &Member<'_>) -> AbilitySet {
    let value = member.value;
    let is_list = || json::elements_if_array(value).next().is_some();
    let (ability, holds) = match member.name() {
        TOOLS | FUNCTIONS => (Ability::Tools, is_list()),
        "parallel_tool_calls" => (Ability::ParallelTools, value == "true"),
        "response_format" => {
            let kind = json::field(value, "type").and_then(json::string);
            (Ability::StructuredOutput, kind.is_some_and(|kind| kind != "text"))
        }
        "n" => (Ability::Choices, !matches!(value, "1" | "null")),
        "logprobs" => (Ability::Logprobs, value == "true"),
        _ => return AbilitySet::NONE,
    };
    AbilitySet::NONE.with_if(ability, holds)
}

fn top_level(text: &str) -> Result<Vec<Member<'_>>, Refusal> {
    let members = fields::top_level(text)?;
    for member in &members {
        let known = KNOWN.into_iter().chain(priceable::MINIMA).chain(priceable::names());
        refuse_misspelled(member.name(), known, &Path::Root)?;
        check(member.name(), member.value, known::TOP_LEVEL, &Path::Root)?;
    }
    Ok(members)
}

/// The position and the value of the cap. Without one, refusals use its deprecated name. Both names at once are
/// refused, because the upstream would choose which one binds.
fn cap(members: &[Member<'_>]) -> Result<(CapPosition, RequestedCap), Refusal> {
    let (mut nulls, mut given) = (Vec::new(), None);
    for member in members {
        let Some(field) = OutputCapField::parse(member.name()) else { continue };
        if json::kind(member.value) == Kind::Null {
            nulls.push((field, member.span.clone()));
            continue;
        }
        let path = Path::Root.field(member.name());
        if given.is_some() {
            return Err(path.refuse("max_tokens and max_completion_tokens cannot both be set"));
        }
        given = Some((field, member, fields::count(member.value, OUTPUT_TOKENS_MAX, &path)?));
    }
    Ok(match given {
        Some((field, member, tokens)) => {
            let other = nulls.pop().map(|(_, other)| other);
            let (member, value) = (member.span.clone(), member.value_span.clone());
            (
                CapPosition::Given { field, member, value, other },
                RequestedCap { field: field.as_str(), tokens: Some(tokens) },
            )
        }
        None => {
            let cap = if nulls.is_empty() { CapPosition::Absent } else { CapPosition::Null(nulls) };
            (cap, RequestedCap { field: OutputCapField::default().as_str(), tokens: None })
        }
    })
}

const MESSAGE_KNOWN: [&str; 9] =
    ["audio", CACHE_CONTROL, "content", "function_call", "name", "refusal", "role", "tool_call_id", "tool_calls"];
/// Members of a message in which servers take input besides its content.
const MESSAGE_INPUT: [&str; 6] = ["attachments", "documents", "file_ids", "files", "images", "videos"];
/// The most frequent first: parts are many.
const PART_KNOWN: [&str; 7] = ["text", "type", "image_url", CACHE_CONTROL, "reasoning", "refusal", "thinking"];
/// Members of a part in which servers take more than its text or image.
const PART_INPUT: [&str; 11] = [
    "audio_url", "document", "document_url", "file", "file_id", "file_url", "image", "input_audio", "source", "video",
    "video_url",
];
const FILE_KNOWN: [&str; 3] = ["file_data", "file_id", "filename"];
const IMAGE_KNOWN: [&str; 2] = ["detail", "url"];
/// Types of parts that are text, so that their bytes bound their tokens.
const TEXT_PARTS: [&str; 5] = ["text", "refusal", "thinking", "reasoning", "reference"];
/// Members of such parts that may be lists, as Mistral's are, and the types of the elements.
const LISTS: [&str; 3] = ["reasoning", "text", "thinking"];
const LIST_PARTS: [&str; 2] = ["text", "reference"];

fn read_messages(value: &str) -> Result<MessageTotals, Refusal> {
    let path = Path::Root.field("messages");
    let (mut totals, mut count) = (MessageTotals::default(), 0);
    fields::elements(value, &path, |message, message_path| {
        count += 1;
        if count > MESSAGES_MAX {
            return Err(path.refuse(format!("has more than {MESSAGES_MAX} messages")));
        }
        read_message(message, message_path, &mut totals)
    })?;
    if count == 0 {
        return Err(path.refuse("must not be empty"));
    }
    Ok(totals)
}

/// Totals over all messages.
#[derive(Default)]
struct MessageTotals {
    images: Images,
    documents: Documents,
    /// Content parts and tool calls.
    parts: BlockCount,
    /// A cache of more than five minutes, see [`priceable::note_long_cache`].
    cached_long: Option<Unpriced>,
    has_odd_call_ids: bool,
}

impl MessageTotals {
    /// Notes an id of a call as it is written: one with escapes is odd.
    fn note_call_id(&mut self, id: &str) {
        let inside = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
        self.has_odd_call_ids |= inside.is_some_and(|id| !is_plain_call_id(id));
    }

    /// Notes a `cache_control` that has another price. `path` is that of its object.
    fn note_cache(&mut self, value: &str, path: &Path<'_>) -> Result<(), Refusal> {
        if let Some(cache) = priceable::long_cache(value, &path.field(CACHE_CONTROL))? {
            priceable::note_long_cache(&mut self.cached_long, cache);
        }
        Ok(())
    }
}

fn read_message(message: &str, path: &Path<'_>, totals: &mut MessageTotals) -> Result<(), Refusal> {
    for member in fields::members(message, path)? {
        refuse_misspelled(member.name(), MESSAGE_KNOWN.into_iter().chain(MESSAGE_INPUT), path)?;
        check(member.name(), member.value, known::MESSAGE, path)?;
        let value_path = path.field(member.name());
        match (member.name(), json::kind(member.value)) {
            ("content", Kind::Array) => {
                fields::elements(member.value, &value_path, |part, part_path| {
                    totals.parts.one_more("parts")?;
                    read_part(part, part_path, totals)
                })?;
            }
            ("tool_calls", Kind::Array) => {
                fields::elements(member.value, &value_path, |call, path| {
                    totals.parts.one_more("parts")?;
                    read_call(call, path, totals)
                })?;
            }
            ("tool_calls", Kind::Object) => read_call(member.value, &value_path, totals)?,
            ("function_call", Kind::Object) => {
                let cache = json::field(member.value, CACHE_CONTROL);
                cache.map_or(Ok(()), |cache| totals.note_cache(cache, &value_path))?;
            }
            ("content", Kind::String | Kind::Null) | ("audio", Kind::Null) => {}
            (CACHE_CONTROL, _) => totals.note_cache(member.value, path)?,
            ("tool_call_id", _) => totals.note_call_id(member.value),
            ("content", _) => return Err(value_path.refuse("must be a string or an array")),
            ("audio", _) => return Err(priceable::unpriced(&value_path, "audio has no price")),
            ("role", Kind::String) if is_cache_role(member.value) => {
                return Err(priceable::unpriced(&value_path, "a message that the provider has cached has no price"));
            }
            (name, _) if MESSAGE_INPUT.contains(&name) && !fields::is_empty(member.value) => {
                return Err(priceable::unpriced(&value_path, "input outside of the content of a message has no price"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Servers that pass a call on to Anthropic take `cache_control` in it, and some in its function.
fn read_call(call: &str, path: &Path<'_>, totals: &mut MessageTotals) -> Result<(), Refusal> {
    if json::kind(call) != Kind::Object {
        return Ok(());
    }
    check_tool(&Fields::read(call, path)?, &mut |member, path| match member.name() {
        CACHE_CONTROL => totals.note_cache(member.value, path),
        "id" => {
            totals.note_call_id(member.value);
            Ok(())
        }
        _ => Ok(()),
    })
}

fn read_part(part: &str, path: &Path<'_>, totals: &mut MessageTotals) -> Result<(), Refusal> {
    if json::kind(part) == Kind::String {
        return Ok(());
    }
    let mut fields = part_fields(part, path, totals)?;
    let kind = fields.required_string("type")?;
    if kind == "file" {
        read_file(&mut fields, totals)?;
        return no_more_input(&fields, &kind);
    }
    let (image, is_image) = (fields.raw("image_url"), kind == "image_url");
    if !is_image && (image.is_some() || !TEXT_PARTS.contains(&&*kind)) {
        return Err(no_price(&kind, path));
    }
    no_more_input(&fields, &kind)?;
    lists(&fields).try_for_each(|list| read_list(list.value, &path.field(list.name()), totals))?;
    if is_image {
        let value_path = path.field("image_url");
        let base64_bytes = base64_bytes(image.ok_or_else(|| value_path.refuse("is required"))?, &value_path)?;
        totals.images = totals.images.with_one(base64_bytes);
    }
    Ok(())
}

/// The members of a part, whose mark of a cache has been noted.
fn part_fields<'a, 'p>(
    part: &'a str,
    path: &'p Path<'p>,
    totals: &mut MessageTotals,
) -> Result<Fields<'a, 'p>, Refusal> {
    let mut fields = Fields::read(part, path)?;
    fields.refuse_misspelled(PART_KNOWN.into_iter().chain(PART_INPUT))?;
    if let Some(cache) = fields.raw(CACHE_CONTROL) {
        totals.note_cache(cache, path)?;
    }
    Ok(fields)
}

fn lists<'f, 'a>(part: &'f Fields<'a, '_>) -> impl Iterator<Item = &'f Member<'a>> {
    part.unread().filter(|member| json::kind(member.value) == Kind::Array && LISTS.contains(&member.name()))
}

/// Reads a list in a part. It has texts alone, and no lists of its own.
fn read_list(list: &str, path: &Path<'_>, totals: &mut MessageTotals) -> Result<(), Refusal> {
    fields::elements(list, path, |element, path| {
        totals.parts.one_more("parts")?;
        if json::kind(element) == Kind::String {
            return Ok(());
        }
        let mut fields = part_fields(element, path, totals)?;
        let kind = fields.required_string("type")?;
        let has_more = fields.raw("image_url").is_some() || lists(&fields).next().is_some();
        if has_more || !LIST_PARTS.contains(&&*kind) {
            return Err(no_price(&kind, path));
        }
        no_more_input(&fields, &kind)
    })
}

fn no_price(kind: &str, path: &Path<'_>) -> Refusal {
    priceable::unpriced(path, &format!("a part of type {kind:.100} has no price"))
}

/// Errors: the part has more than what was read of it.
fn no_more_input(part: &Fields<'_, '_>, kind: &str) -> Result<(), Refusal> {
    let is_input = |member: &&Member<'_>| PART_INPUT.contains(&member.name()) && json::kind(member.value) != Kind::Null;
    match part.unread().find(is_input) {
        Some(input) => {
            Err(priceable::unpriced(part.path(), &format!("a part of type {kind} with {} has no price", input.name())))
        }
        None => Ok(()),
    }
}

/// Reads the file of a part. One that the provider has stored, or fetches, may be of any length.
fn read_file(part: &mut Fields<'_, '_>, totals: &mut MessageTotals) -> Result<(), Refusal> {
    let path = part.path().field("file");
    let mut file = Fields::read(part.raw("file").ok_or_else(|| path.refuse("is required"))?, &path)?;
    file.refuse_misspelled(FILE_KNOWN)?;
    if file.raw("file_id").is_some() {
        return Err(priceable::unpriced(&path.field("file_id"), "a file that the provider has stored has no price"));
    }
    let data = file.required_string("file_data")?;
    let name = file.raw("filename").and_then(json::string).unwrap_or_default();
    if let Some(more) = file.unread().find(|member| json::kind(member.value) != Kind::Null) {
        let what = "a file with more than file_data and filename has no price";
        return Err(priceable::unpriced(&path.field(more.name()), what));
    }
    let document = documents::of_data_url(&data, &path.field("file_data"))?;
    totals.documents = totals.documents.with_file(&document.named(&name));
    Ok(())
}

/// True for Moonshot's role `cache`, whose content refers to context that the provider has cached.
fn is_cache_role(role: &str) -> bool {
    json::string(role).is_some_and(|role| role.eq_ignore_ascii_case("cache"))
}

/// Bytes of base64 in an image: an object with `url`, or the URL itself.
fn base64_bytes(image: &str, path: &Path<'_>) -> Result<usize, Refusal> {
    let url = match json::kind(image) {
        Kind::String => fields::string(image, path)?,
        _ => {
            let mut fields = Fields::read(image, path)?;
            fields.refuse_misspelled(IMAGE_KNOWN)?;
            let url = fields.required_string("url")?;
            // `format` and the like mean that it is not an image, or a larger one.
            let is_more = |member: &&Member<'_>| member.name() != "detail" && json::kind(member.value) != Kind::Null;
            if let Some(more) = fields.unread().find(is_more) {
                let what = "an image with more than url and detail has no price";
                return Err(priceable::unpriced(&path.field(more.name()), what));
            }
            url
        }
    };
    // Some providers take documents and videos here, whose pages and seconds are not billed as one image.
    match ImageUrl::of(&url) {
        Some(ImageUrl::Remote) => Ok(0),
        Some(ImageUrl::Inline { base64, .. }) => Ok(base64.map_or(0, str::len)),
        None => Err(priceable::unpriced(path, "only http, https and data:image/ URLs have a price")),
    }
}
