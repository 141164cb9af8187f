//! Reads the messages and the system prompt for their facts: what is in them that costs more than its bytes.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use events::refusal::Refusal;
use intermediate::chat::read::{BlockCount, MESSAGES_MAX};
use intermediate::chat::{ImageUrl, is_image, is_marked_signature, is_plain_call_id};
use intermediate::facts::{Documents, Images, ReservedOutput, Unpriced};
use intermediate::fields::{self, Fields, Path};
use intermediate::json::{self, Kind, Member};

use super::billing_line::is_billing_text;
use super::known;
use super::priceable::{self, CACHE_CONTROL, CONTAINER, CONTEXT_MANAGEMENT, FILES, MCP_SERVERS, TOOLS, ToolTotals};
use crate::documents;

/// Members of a block in which compatible servers may take more than its text or image.
const INPUT: [&str; 10] = [
    "audio_url", "document_url", "file", "file_data", "file_id", "file_url", "image_url", "input_audio", "video",
    "video_url",
];

/// Totals over all messages and the system prompt.
#[derive(Default)]
pub struct Totals<'a> {
    pub images: Images,
    pub documents: Documents,
    pub unpriced: Vec<Unpriced>,
    pub reserved_output: ReservedOutput,
    /// There are thoughts of other dialects, to which the gateway gave the form of this one's.
    pub has_foreign_thoughts: bool,
    /// There are thoughts without a signature, as servers write them that sign nothing.
    pub has_unsigned_thoughts: bool,
    /// There is a call whose id is not one for which [`is_plain_call_id`] holds.
    pub has_odd_call_ids: bool,
    /// The system prompt has a block for Anthropic alone, see [`is_billing_text`].
    pub has_billing_line: bool,
    /// Definitions of tools in messages.
    pub inline_tools: Vec<&'a str>,
    /// Upper bound of the tokens that are added for tools.
    tool_tokens: u64,
    /// The names of tools to which blocks refer, each with the number of its references.
    references: HashMap<Cow<'a, str>, u64>,
    blocks: BlockCount,
    /// Ids of the calls so far.
    calls: HashSet<Cow<'a, str>>,
    /// The refusal of the first result whose call is not there.
    orphan: Option<Refusal>,
}

/// The signature of a thought of another dialect that has none: no server of this one takes the thought.
pub const UNSIGNED: &str = "ledgerway:";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the system prompt.
    System,
    /// In a message of the role system.
    Instruction,
    User,
    Assistant,
    /// In the result of a tool.
    Result,
    /// In a document or a search result.
    Inside,
}

impl<'a> Totals<'a> {
    /// Notes the top-level fields that change the cost or ask for output. Goes before [`Self::read_messages`]: input that is
    /// elsewhere may have a result's call.
    pub fn read_top(&mut self, members: &[Member<'a>]) -> Result<(), Refusal> {
        for member in members.iter().filter(|member| !is_null(member.value)) {
            match member.name() {
                CACHE_CONTROL => self.note_cache(Some(member.value), &Path::Root)?,
                TOOLS => self.note_tools(priceable::tools(member.value, &Path::Root.field(TOOLS))?),
                name => self.unpriced.extend(priceable::unpriced_field(name, member.value)?),
            }
            self.unpriced.extend(priceable::reserve(&mut self.reserved_output, member.name(), member.value)?);
        }
        Ok(())
    }

    fn note_tools(&mut self, tools: ToolTotals) {
        self.tool_tokens = self.tool_tokens.saturating_add(tools.added_tokens);
        let is_alike = |noted: &Unpriced, tool: &Unpriced| {
            noted.name == TOOLS && noted.is_lost_in_translation == tool.is_lost_in_translation
        };
        self.unpriced.extend(tools.unpriced.filter(|tool| !self.unpriced.iter().any(|noted| is_alike(noted, tool))));
        if let Some(cache) = tools.cached_long {
            self.note_long_cache(cache);
        }
    }

    /// Upper bound of the prompt that is not in the body: that of tools which Anthropic defines, what fitting adds to their
    /// schemas, and what references to tools of this list become.
    pub fn added_tokens(&self, tools: Option<&str>) -> u64 {
        self.tool_tokens.saturating_add(self.referenced_bytes(tools))
    }

    /// The bytes of definitions that references add. Anthropic puts the definition of the tool in the place of each. That of a
    /// tool which is loaded later is in the prompt nowhere else, so that the body has its bytes for one of them.
    fn referenced_bytes(&self, tools: Option<&str>) -> u64 {
        if self.references.is_empty() {
            return 0;
        }
        let listed = tools.into_iter().flat_map(json::elements_if_array);
        let added = listed.chain(self.inline_tools.iter().copied()).map(|tool| {
            let [name, deferred] = json::find(tool, ["name", "defer_loading"]);
            let references = name.and_then(json::string).and_then(|name| self.references.get(&*name)).copied();
            let once_counted = u64::from(deferred == Some("true"));
            references.unwrap_or(0).saturating_sub(once_counted).saturating_mul(tool.len() as u64)
        });
        added.fold(0, u64::saturating_add)
    }

    pub fn read_messages(&mut self, value: &'a str) -> Result<(), Refusal> {
        let path = Path::Root.field("messages");
        let mut count = 0;
        fields::elements(value, &path, |message, message_path| {
            count += 1;
            if count > MESSAGES_MAX {
                return Err(path.refuse(format!("has more than {MESSAGES_MAX} messages")));
            }
            self.message(message, message_path)
        })?;
        if count == 0 {
            return Err(path.refuse("must not be empty"));
        }
        // Input that is elsewhere, which a provider allows, may have the call.
        match self.orphan.take().filter(|_| self.unpriced.is_empty()) {
            Some(orphan) => Err(orphan),
            None => Ok(()),
        }
    }

    pub fn read_system(&mut self, value: &'a str) -> Result<(), Refusal> {
        self.content(value, &Path::Root.field("system"), Place::System)
    }

    /// Notes a field that changes the cost, the first of each name.
    pub fn note(&mut self, name: &str, refusal: Refusal) {
        if !self.unpriced.iter().any(|unpriced| unpriced.name == name) {
            self.unpriced.extend(priceable::field(name, refusal));
        }
    }

    /// Notes a `cache_control` that has another price. `path` is that of its object.
    pub fn note_cache(&mut self, value: Option<&str>, path: &Path<'_>) -> Result<(), Refusal> {
        if let Some(cache) = priceable::long_cache(value, path)? {
            self.note_long_cache(cache);
        }
        Ok(())
    }

    /// Notes a long cache, the first of those that the same price is for.
    fn note_long_cache(&mut self, cache: Unpriced) {
        let is_noted = |noted: &Unpriced| noted.name == CACHE_CONTROL && noted.cache_write == cache.cache_write;
        if !self.unpriced.iter().any(is_noted) {
            self.unpriced.push(cache);
        }
    }

    fn message(&mut self, message: &'a str, path: &Path<'_>) -> Result<(), Refusal> {
        let mut fields = Fields::read(message, path)?;
        fields.refuse_misspelled(known::MESSAGE)?;
        let place = match &*fields.required_string("role")? {
            "user" => Place::User,
            "assistant" => Place::Assistant,
            "system" => Place::Instruction,
            _ => return Err(path.field("role").refuse("must be user, assistant or system")),
        };
        let content_path = path.field("content");
        let content = fields.raw("content").ok_or_else(|| content_path.refuse("is required"))?;
        self.content(content, &content_path, place)
    }

    /// A string, or blocks.
    fn content(&mut self, value: &'a str, path: &Path<'_>, place: Place) -> Result<(), Refusal> {
        match json::kind(value) {
            Kind::String => Ok(()),
            Kind::Array => fields::elements(value, path, |block, path| self.block(block, path, place)),
            _ => Err(path.refuse("must be a string or an array of blocks")),
        }
    }

    fn block(&mut self, block: &'a str, path: &Path<'_>, place: Place) -> Result<(), Refusal> {
        self.blocks.one_more("blocks")?;
        let mut fields = Fields::read(block, path)?;
        fields.refuse_misspelled(known::BLOCK.into_iter().chain(INPUT))?;
        let kind = fields.required_string("type")?;
        self.note_cache(fields.raw(CACHE_CONTROL), path)?;
        if let Some(input) = fields.unread().find(|member| INPUT.contains(&member.name()) && !is_null(member.value)) {
            let what = format!("a block of type {kind:.100} with {} has no price", input.name());
            return Err(priceable::unpriced(path, &what));
        }
        match place {
            Place::Instruction if matches!(&*kind, "tool_addition" | "tool_removal") => {
                return self.tool_change(&mut fields, &kind);
            }
            Place::System | Place::Instruction if kind != "text" => {
                return Err(path.field("type").refuse("must be text: a system prompt has no other blocks"));
            }
            Place::Result if kind == "tool_reference" => {
                let name = fields.required_string("tool_name")?;
                self.refer_to(name);
                return Ok(());
            }
            // Blocks that may nest would be read once for each level.
            Place::Inside if !matches!(&*kind, "text" | "image") => {
                return Err(path.field("type").refuse("must be text or image here"));
            }
            _ => {}
        }
        match &*kind {
            "text" if place == Place::System => {
                self.has_billing_line |= is_billing_text(quoted_string(&mut fields, "text")?);
                Ok(())
            }
            "text" => require_string(&mut fields, "text"),
            "image" => self.image(&mut fields),
            "document" => self.document(&mut fields),
            "search_result" => self.search_result(&mut fields),
            "tool_use" if place == Place::Assistant => self.call(&mut fields),
            "tool_result" if place == Place::User => self.result(&mut fields),
            "thinking" if place == Place::Assistant => {
                let signature = fields.string("signature")?.unwrap_or_default();
                self.has_foreign_thoughts |= is_marked_signature(&signature);
                self.has_unsigned_thoughts |= signature.is_empty();
                require_string(&mut fields, "thinking")
            }
            "redacted_thinking" if place == Place::Assistant => require_string(&mut fields, "data"),
            "tool_use" | "thinking" | "redacted_thinking" => {
                Err(path.refuse(format!("a block of type {kind} belongs in a message of the role assistant")))
            }
            "tool_result" => Err(path.refuse("a block of type tool_result belongs in a message of the role user")),
            other => self.of_a_service(other, path),
        }
    }

    /// Blocks of what runs at the provider: they go only where that is allowed.
    fn of_a_service(&mut self, kind: &str, path: &Path<'_>) -> Result<(), Refusal> {
        let name = match kind {
            "container_upload" => CONTAINER,
            "compaction" => CONTEXT_MANAGEMENT,
            _ if kind.starts_with("mcp_") => MCP_SERVERS,
            _ if kind.starts_with("server_tool_") || kind.starts_with("tool_") || kind.ends_with("_tool_result") => {
                TOOLS
            }
            _ => return Err(path.field("type").refuse(format!("unknown type {kind:.100}"))),
        };
        self.note(name, priceable::unpriced(path, &format!("a block of type {kind:.100} has no price")));
        Ok(())
    }

    /// A tool that is offered or withdrawn from here on: one of `tools`, or one that is defined here.
    fn tool_change(&mut self, fields: &mut Fields<'a, '_>, change: &str) -> Result<(), Refusal> {
        let path = fields.path().field("tool");
        let mut tool = Fields::read(fields.raw("tool").ok_or_else(|| path.refuse("is required"))?, &path)?;
        tool.refuse_misspelled(known::CHANGED_TOOL)?;
        match &*tool.required_string("type")? {
            "tool_reference" => {
                let name = tool.required_string("name")?;
                if change == "tool_addition" {
                    self.refer_to(name);
                }
            }
            "tool_definition" => {
                let at = path.field("definition");
                let definition = tool.raw("definition").ok_or_else(|| at.refuse("is required"))?;
                let mut totals = ToolTotals::default();
                totals.read(definition, &at)?;
                self.inline_tools.push(definition);
                self.note_tools(totals);
            }
            other => self.note(TOOLS, priceable::unpriced(&path, &format!("a tool of type {other:.100} has no price"))),
        }
        Ok(())
    }

    fn refer_to(&mut self, name: Cow<'a, str>) {
        *self.references.entry(name).or_default() += 1;
    }

    fn call(&mut self, fields: &mut Fields<'a, '_>) -> Result<(), Refusal> {
        require_string(fields, "name")?;
        let path = fields.path().field("input");
        match fields.raw("input") {
            Some(input) if json::kind(input) == Kind::Object => {}
            _ => return Err(path.refuse("must be an object")),
        }
        let id = fields.required_string("id")?;
        self.has_odd_call_ids |= !is_plain_call_id(&id);
        self.calls.insert(id);
        Ok(())
    }

    fn result(&mut self, fields: &mut Fields<'a, '_>) -> Result<(), Refusal> {
        let id = fields.required_string("tool_use_id")?;
        fields.boolean("is_error")?;
        if self.orphan.is_none() && !self.calls.contains(&id) {
            let reason = "is not the id of a tool_use block of an earlier message";
            self.orphan = Some(fields.path().field("tool_use_id").refuse(reason));
        }
        let path = fields.path().field("content");
        match fields.raw("content") {
            Some(content) => self.content(content, &path, Place::Result),
            None => Ok(()),
        }
    }

    fn image(&mut self, fields: &mut Fields<'a, '_>) -> Result<(), Refusal> {
        let path = fields.path().field("source");
        let source = &mut source(fields, &path)?;
        match &*source.required_string("type")? {
            "base64" => {
                let media_type = source.required_string("media_type")?;
                if !is_image(&media_type) {
                    return Err(path.field("media_type").refuse("must be image/…"));
                }
                self.images = self.images.with_one(base64(source)?.len());
            }
            "url" => {
                require_url(source)?;
                self.images = self.images.with_one(0);
            }
            "file" => self.file(&path),
            _ => return Err(path.field("type").refuse("must be base64, url or file")),
        }
        Ok(())
    }

    fn document(&mut self, fields: &mut Fields<'a, '_>) -> Result<(), Refusal> {
        let is_cited = is_cited(fields)?;
        let path = fields.path().field("source");
        let source = &mut source(fields, &path)?;
        match &*source.required_string("type")? {
            "base64" => {
                let (media_type, data) = (source.required_string("media_type")?, base64(source)?);
                let document = documents::of_base64(&media_type, &data, &path.field("media_type"))?;
                self.documents = match is_cited {
                    true => self.documents.with_inline(data.len()),
                    false => self.documents.with_file(&document),
                };
            }
            "url" => {
                require_url(source)?;
                self.documents = self.documents.with_remote();
            }
            "text" => {
                require_string(source, "data")?;
                self.cited(is_cited);
            }
            "content" => {
                let content_path = path.field("content");
                let content = source.raw("content").ok_or_else(|| content_path.refuse("is required"))?;
                self.content(content, &content_path, Place::Inside)?;
                self.cited(is_cited);
            }
            "file" => self.file(&path),
            _ => return Err(path.field("type").refuse("must be base64, text, content, url or file")),
        }
        Ok(())
    }

    fn search_result(&mut self, fields: &mut Fields<'a, '_>) -> Result<(), Refusal> {
        let is_cited = is_cited(fields)?;
        require_string(fields, "source")?;
        require_string(fields, "title")?;
        let path = fields.path().field("content");
        let content = fields.raw("content").ok_or_else(|| path.refuse("is required"))?;
        self.cited(is_cited);
        self.content(content, &path, Place::Inside)
    }

    /// Text that may be cited is cut into sentences, with marks between them, so that its bytes do not bound its tokens.
    fn cited(&mut self, is_cited: bool) {
        if is_cited {
            self.documents = self.documents.with_cited_text();
        }
    }

    fn file(&mut self, path: &Path<'_>) {
        self.note(FILES, priceable::unpriced(path, "a file that the provider has stored has no price"));
    }
}

fn is_null(value: &str) -> bool {
    json::kind(value) == Kind::Null
}

/// Checks that a member is a string, without decoding it.
fn require_string(fields: &mut Fields<'_, '_>, name: &str) -> Result<(), Refusal> {
    quoted_string(fields, name).map(|_| ())
}

/// A string as it stands in the body.
fn quoted_string<'a>(fields: &mut Fields<'a, '_>, name: &str) -> Result<&'a str, Refusal> {
    let path = fields.path().field(name);
    match fields.raw(name) {
        Some(value) if json::kind(value) == Kind::String => Ok(value),
        Some(_) => Err(path.refuse("must be a string")),
        None => Err(path.refuse("is required")),
    }
}

fn source<'a, 'p>(fields: &mut Fields<'a, '_>, path: &'p Path<'p>) -> Result<Fields<'a, 'p>, Refusal> {
    let value = fields.raw("source").ok_or_else(|| path.refuse("is required"))?;
    let source = Fields::read(value, path)?;
    source.refuse_misspelled(known::SOURCE)?;
    Ok(source)
}

/// The base64 of a source. It is not longer than in the body, where it may have escapes.
fn base64<'a>(source: &mut Fields<'a, '_>) -> Result<Cow<'a, str>, Refusal> {
    source.required_string("data")
}

fn require_url(source: &mut Fields<'_, '_>) -> Result<(), Refusal> {
    let path = source.path().field("url");
    match ImageUrl::of(&source.required_string("url")?) {
        Some(ImageUrl::Remote) => Ok(()),
        _ => Err(path.refuse("must be an http or https URL")),
    }
}

/// `citations`: true if they are enabled.
pub fn is_cited(fields: &mut Fields<'_, '_>) -> Result<bool, Refusal> {
    let path = fields.path().field("citations");
    match fields.raw("citations") {
        Some(value) => Ok(Fields::read(value, &path)?.boolean("enabled")?.unwrap_or(false)),
        None => Ok(false),
    }
}
