//! `input` of a request: a text, or items. Successive items of the assistant are one message of the intermediate form, as the model said
//! them: reasoning, text, calls.

use std::collections::BTreeMap;

use events::refusal::Refusal;
use intermediate::chat::read::{BLOCKS_MAX, MESSAGES_MAX};
use intermediate::chat::{
    Block, Document, DocumentSource, Image, ImageSource, Message, ReasoningBlock, Role, ToolCall, ToolResult,
};
use intermediate::fields::{self, Fields, LengthMax, Path};
use intermediate::json::{self, Kind};

use super::super::proof::Proof;
use crate::documents;

const NO_FILES: &str = "is not supported: the gateway keeps no files, so send the data or a URL";

/// Reads `input`, and appends its messages.
pub fn read_all(fields: &mut Fields<'_, '_>, messages: &mut Vec<Message>) -> Result<(), Refusal> {
    let path = fields.path().field("input");
    let value = fields.raw("input").ok_or_else(|| path.refuse("is required"))?;
    if json::kind(value) == Kind::String {
        let content = vec![Block::Text(fields::string(value, &path)?.into_owned())];
        messages.push(Message { role: Role::User, content });
        return Ok(());
    }
    if json::kind(value) != Kind::Array {
        return Err(path.refuse("must be a string or an array of items"));
    }
    let mut input = ReadInput { messages, parts: 0, signatures: BTreeMap::new(), is_continued: false };
    let mut count = 0;
    fields::elements(value, &path, |item, path| {
        count += 1;
        if count > MESSAGES_MAX {
            return Err(Path::Root.field("input").refuse(format!("has more than {MESSAGES_MAX} items")));
        }
        input.item(item, path)
    })?;
    if count == 0 {
        return Err(path.refuse("must not be empty"));
    }
    Ok(())
}

/// The input so far.
struct ReadInput<'m> {
    messages: &'m mut Vec<Message>,
    /// Parts of all items. Their number is bounded because one takes far more memory than its JSON.
    parts: usize,
    /// Signatures of calls that have not come yet, by their ids.
    signatures: BTreeMap<String, String>,
    /// The last message is the assistant's, and the next item may belong to it.
    is_continued: bool,
}

impl ReadInput<'_> {
    fn item(&mut self, text: &str, path: &Path<'_>) -> Result<(), Refusal> {
        let mut fields = Fields::read(text, path)?;
        let kind = match fields.string("type")? {
            Some(kind) => kind,
            None if fields.unread().any(|member| member.name() == "role") => "message".into(),
            None => return Err(path.field("type").refuse("is required")),
        };
        match &*kind {
            "message" => self.message(fields),
            "function_call" => self.call(fields),
            "function_call_output" => self.output(fields),
            "reasoning" => self.reasoning(fields),
            "item_reference" => Err(path
                .field("type")
                .refuse("is not supported: the gateway keeps no responses, so send the item itself")),
            _ => Err(path.field("type").refuse(
                "must be message, function_call, function_call_output or reasoning: other items have no counterpart",
            )),
        }
    }

    fn one_more_part(&mut self) -> Result<(), Refusal> {
        self.parts += 1;
        match self.parts > BLOCKS_MAX {
            true => Err(Path::Root.field("input").refuse(format!("has more than {BLOCKS_MAX} parts"))),
            false => Ok(()),
        }
    }

    /// Adds to the assistant's message, or begins one.
    fn assistant_says(&mut self, block: Block) -> Result<(), Refusal> {
        self.one_more_part()?;
        match self.messages.last_mut().filter(|_| self.is_continued) {
            Some(last) => last.content.push(block),
            None => self.messages.push(Message { role: Role::Assistant, content: vec![block] }),
        }
        self.is_continued = true;
        Ok(())
    }

    fn others_say(&mut self, role: Role, content: Vec<Block>) {
        self.is_continued = false;
        self.messages.push(Message { role, content });
    }

    fn message(&mut self, mut fields: Fields<'_, '_>) -> Result<(), Refusal> {
        fields.refuse_lost(&["role", "content", "id", "status", "phase"], &[])?;
        let role = match &*fields.required_string("role")? {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(fields.path().field("role").refuse("must be user, assistant, system or developer")),
        };
        let path = fields.path().field("content");
        let value = fields.raw("content").ok_or_else(|| path.refuse("is required"))?;
        let mut content = Vec::new();
        self.content(value, &path, &mut content, |kind| match role {
            Role::User => kind != "output_text" && kind != "refusal",
            Role::System => kind == "input_text",
            Role::Assistant | Role::Tool => matches!(kind, "output_text" | "refusal" | "input_text"),
        })?;
        if role == Role::Assistant {
            content.into_iter().try_for_each(|block| self.assistant_says(block))
        } else {
            self.others_say(role, content);
            Ok(())
        }
    }

    /// A string, or parts of the types that are taken here.
    fn content(
        &mut self,
        value: &str,
        path: &Path<'_>,
        content: &mut Vec<Block>,
        takes: impl Fn(&str) -> bool,
    ) -> Result<(), Refusal> {
        if json::kind(value) == Kind::String {
            content.push(Block::Text(fields::string(value, path)?.into_owned()));
            return Ok(());
        }
        if json::kind(value) != Kind::Array {
            return Err(path.refuse("must be a string or an array of parts"));
        }
        fields::elements(value, path, |element, path| {
            self.one_more_part()?;
            let mut part = Fields::read(element, path)?;
            let kind = part.required_string("type")?;
            if !takes(&kind) {
                return Err(path.field("type").refuse("is not a type of part that is supported here"));
            }
            content.push(block(&kind, part)?);
            Ok(())
        })
    }

    fn call(&mut self, mut fields: Fields<'_, '_>) -> Result<(), Refusal> {
        fields.refuse_lost(&["call_id", "name", "arguments", "id", "status"], &[])?;
        let id = fields.required_string("call_id")?.into_owned();
        let name = fields.required_string("name")?.into_owned();
        let arguments = fields.required_string("arguments")?.into_owned();
        let signature = self.signatures.remove(&id);
        self.assistant_says(Block::ToolCall(ToolCall { id, name, arguments, signature }))
    }

    fn output(&mut self, mut fields: Fields<'_, '_>) -> Result<(), Refusal> {
        fields.refuse_lost(&["call_id", "output", "id", "status", "name"], &[])?;
        let id = fields.required_string("call_id")?.into_owned();
        let path = fields.path().field("output");
        let value = fields.raw("output").ok_or_else(|| path.refuse("is required"))?;
        let mut content = Vec::new();
        self.one_more_part()?;
        self.content(value, &path, &mut content, |kind| kind.starts_with("input_"))?;
        self.others_say(Role::Tool, vec![Block::ToolResult(ToolResult { id, content, is_error: false })]);
        Ok(())
    }

    /// Reasoning with its text, and with the proof that this gateway wrote into `encrypted_content`.
    fn reasoning(&mut self, mut fields: Fields<'_, '_>) -> Result<(), Refusal> {
        fields.refuse_lost(&["summary", "content", "encrypted_content", "id", "status"], &[])?;
        let mut text = String::new();
        // Open models give their reasoning itself, others a summary.
        for (name, kind) in [("content", "reasoning_text"), ("summary", "summary_text")] {
            let is_first = text.is_empty();
            fields.list(name, LengthMax { max: BLOCKS_MAX, things: "parts" }, |element, path| {
                self.one_more_part()?;
                let mut part = Fields::read(element, path)?;
                if part.required_string("type")? != kind {
                    return Err(path.field("type").refuse(format!("must be {kind}")));
                }
                let piece = part.required_string("text")?;
                if is_first {
                    text.push_str(&piece);
                }
                Ok(())
            })?;
        }
        let mut block = ReasoningBlock { text, signature: None, redacted: None };
        if let Some(proof) = fields.string("encrypted_content")?.filter(|proof| !proof.is_empty()) {
            match Proof::read(&proof) {
                Some(Proof::Signature(signature)) => block.signature = Some(signature.to_owned()),
                Some(Proof::Redacted(data)) => block.redacted = Some(data.to_owned()),
                Some(Proof::Call { id, signature }) => {
                    self.one_more_part()?;
                    self.signatures.insert(id.to_owned(), signature.to_owned());
                }
                None => {
                    let path = fields.path().field("encrypted_content");
                    return Err(path.refuse("was not written by this gateway: leave it out, or the whole item"));
                }
            }
        }
        // Reasoning without text and proof says nothing.
        if block.text.is_empty() && block.signature.is_none() && block.redacted.is_none() {
            return Ok(());
        }
        self.assistant_says(Block::Reasoning(block))
    }
}

/// Reads one part of content.
fn block(kind: &str, mut part: Fields<'_, '_>) -> Result<Block, Refusal> {
    // What does not change the meaning of a part: marks for caching, and what an earlier response had beside its text.
    let names: &[&str] = match kind {
        "input_text" => &["text", "prompt_cache_breakpoint"],
        "output_text" => &["text", "annotations", "logprobs"],
        "refusal" => &["refusal"],
        "input_image" => &["image_url", "file_id", "detail", "prompt_cache_breakpoint"],
        "input_file" => &["file_data", "file_url", "file_id", "filename", "detail", "prompt_cache_breakpoint"],
        _ => {
            let reason = "must be input_text, input_image, input_file, output_text or refusal";
            return Err(part.path().field("type").refuse(reason));
        }
    };
    part.refuse_lost(names, &[])?;
    if part.string("file_id")?.is_some() {
        return Err(part.path().field("file_id").refuse(NO_FILES));
    }
    Ok(match kind {
        "refusal" => Block::Text(part.required_string("refusal")?.into_owned()),
        "input_image" => {
            let path = part.path().field("image_url");
            let source = ImageSource::of_url(&part.required_string("image_url")?, &path)?;
            Block::Image(Image { source, detail: part.string("detail")?.map(Into::into) })
        }
        "input_file" => Block::Document(document(&mut part)?),
        _ => Block::Text(part.required_string("text")?.into_owned()),
    })
}

/// `file_data`, a `data:` URL, or `file_url`; `filename`.
fn document(part: &mut Fields<'_, '_>) -> Result<Document, Refusal> {
    let title = part.string("filename")?.map(Into::into);
    let source = match (part.string("file_data")?, part.string("file_url")?) {
        (Some(data), None) => {
            let path = part.path().field("file_data");
            documents::of_data_url(&data, &path)?.source()
        }
        (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
            DocumentSource::Url(url.into_owned())
        }
        (None, Some(_)) => return Err(part.path().field("file_url").refuse("must be an http or https URL")),
        _ => return Err(part.path().refuse("must have either file_data or file_url")),
    };
    Ok(Document { source, title })
}
