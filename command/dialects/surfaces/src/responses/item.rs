//! Output items of a response as JSON. Their texts are kept escaped, because a stream repeats each of them several times.

use bytes::BufMut;
use intermediate::json;

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    Message,
    Reasoning,
    Call,
}

/// An output item. All its texts are escaped as in a JSON string, without the quotes.
#[derive(Debug)]
pub struct Item {
    pub kind: ItemKind,
    /// The text of a message or of a summary, or the arguments of a call.
    pub text: Vec<u8>,
    /// Further content. For a message: its log probabilities, the elements of an array. For reasoning: its
    /// `encrypted_content`. For a call: its members `call_id` and `name`.
    pub more: Vec<u8>,
}

impl Item {
    pub const fn of(kind: ItemKind) -> Self {
        Self { kind, text: Vec::new(), more: Vec::new() }
    }

    pub fn call(id: &str, name: &str) -> Self {
        let mut more = br#""call_id":"#.to_vec();
        json::push(&mut more, id);
        more.extend_from_slice(br#","name":"#);
        json::push(&mut more, name);
        Self { more, ..Self::of(ItemKind::Call) }
    }

    /// The proof that a call needs when it is sent back, in an item of its own.
    pub fn proof_of_call(id: &str, signature: &str) -> Self {
        let mut item = Self::of(ItemKind::Reasoning);
        push_escaped(&mut item.more, &super::proof::of_call(id, signature));
        item
    }

    /// Bytes that are kept of it.
    pub const fn bytes(&self) -> usize {
        self.text.len() + self.more.len()
    }

    /// The item's id, from the digits of the request's id and its index in `output`.
    pub fn id(&self, digits: &str, index: usize) -> String {
        let prefix = match self.kind {
            ItemKind::Message => "msg",
            ItemKind::Reasoning => "rs",
            ItemKind::Call => "fc",
        };
        format!("{prefix}_{digits}_{index}")
    }

    /// Appends the item as it is at its end. Calls always have arguments that parse as JSON, if the model wrote any.
    pub fn put(&self, id: &str, status: &str, out: &mut impl BufMut) {
        self.put_with(id, status, true, out);
    }

    /// Appends the item as it is at its beginning.
    pub fn put_begun(&self, id: &str, out: &mut impl BufMut) {
        self.put_with(id, "in_progress", false, out);
    }

    fn put_with(&self, id: &str, status: &str, is_whole: bool, out: &mut impl BufMut) {
        out.put_slice(br#"{"id":""#);
        out.put_slice(id.as_bytes());
        match self.kind {
            ItemKind::Message => {
                out.put_slice(br#"","type":"message","status":""#);
                out.put_slice(status.as_bytes());
                out.put_slice(br#"","role":"assistant","content":["#);
                if is_whole {
                    self.put_part(out);
                }
                out.put_slice(b"]}");
            }
            ItemKind::Reasoning => {
                out.put_slice(br#"","type":"reasoning","summary":["#);
                if is_whole && !self.text.is_empty() {
                    self.put_part(out);
                }
                out.put_slice(b"]");
                if is_whole && !self.more.is_empty() {
                    out.put_slice(br#","encrypted_content":""#);
                    out.put_slice(&self.more);
                    out.put_slice(b"\"");
                }
                out.put_slice(b"}");
            }
            ItemKind::Call => {
                out.put_slice(br#"","type":"function_call","status":""#);
                out.put_slice(status.as_bytes());
                out.put_slice(b"\",");
                out.put_slice(&self.more);
                out.put_slice(br#","arguments":""#);
                if is_whole {
                    out.put_slice(self.arguments());
                }
                out.put_slice(b"\"}");
            }
        }
    }

    /// The arguments, escaped. No arguments are an empty object.
    pub fn arguments(&self) -> &[u8] {
        if self.text.is_empty() { b"{}" } else { &self.text }
    }

    /// Appends the content part of a message, or the part of a summary.
    pub fn put_part(&self, out: &mut impl BufMut) {
        match self.kind {
            ItemKind::Message => {
                out.put_slice(br#"{"type":"output_text","annotations":[],"logprobs":["#);
                out.put_slice(&self.more);
                out.put_slice(br#"],"text":""#);
            }
            ItemKind::Reasoning | ItemKind::Call => out.put_slice(br#"{"type":"summary_text","text":""#),
        }
        out.put_slice(&self.text);
        out.put_slice(b"\"}");
    }

    /// Adds log probabilities as OpenAI's chat API writes them: an object with `content`, a list. Returns what was added.
    pub fn add_logprobs(&mut self, given: &str) -> &[u8] {
        let before = self.more.len();
        let list = json::field(given, "content").filter(|list| json::kind(list) == json::Kind::Array);
        for token in list.into_iter().flat_map(json::elements).map_while(Result::ok) {
            if !self.more.is_empty() {
                self.more.push(b',');
            }
            // Line ends are white space in JSON, and would end the line of an event.
            let line = token.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte });
            self.more.extend(line);
        }
        let added = self.more.get(before..).unwrap_or_default();
        added.strip_prefix(b",").unwrap_or(added)
    }
}

/// Appends text as in a JSON string, without the quotes.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let before = out.len();
    json::push(out, text);
    out.pop();
    if before < out.len() {
        out.remove(before);
    }
}
