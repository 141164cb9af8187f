//! A stream from an OpenAI-compatible upstream to a client of the OpenAI surface.

use bytes::{BufMut, BytesMut};

use super::answer::model_member;
use super::reading::{Choices, TopLevel, measure_choices, top_level};
use crate::dialect::json::{self, Edit, Member};
use crate::dialect::{Metered, UpstreamFault};

/// A stream that goes to a client of the same dialect: chunks as they came but for the model's name, and without
/// usage where it was not asked for.
pub struct Passthrough {
    /// The frontend model as a JSON string.
    model: Vec<u8>,
    include_usage: bool,
    choices: Choices,
    /// The chunk that says nothing but usage, held back for the end.
    usage_chunk: Option<Vec<u8>>,
}

impl Passthrough {
    pub fn new(frontend_model: &str, include_usage: bool) -> Self {
        let mut model = Vec::with_capacity(frontend_model.len() + 2);
        json::push_string(&mut model, frontend_model);
        Self { model, include_usage, choices: Choices::default(), usage_chunk: None }
    }

    pub const fn is_complete(&self) -> bool {
        self.choices.all_finished()
    }

    /// Takes one chunk; true if it says something.
    pub fn chunk(&mut self, text: &str, metered: &mut Metered, out: &mut BytesMut) -> Result<bool, UpstreamFault> {
        let top = top_level(text, metered)?;
        let (said, any) = measure_choices(top.choices, metered, &mut self.choices)?;
        if !any {
            // Azure's first chunk (`prompt_filter_results`) and usage chunks have an empty list of choices: neither is
            // for clients that did not ask, and usage waits for the end. What has no list at all is no chunk.
            if top.usage.is_some() {
                self.usage_chunk = Some(self.edited(text, &top, true));
            } else if self.include_usage && top.choices.is_some() {
                put_data(out, &self.edited(text, &top, true));
            }
            return Ok(false);
        }
        put_data(out, &self.edited(text, &top, false));
        Ok(said)
    }

    /// With our model's name, also where it has none; a report on an ordinary chunk becomes null, or goes altogether.
    fn edited(&self, text: &str, top: &TopLevel<'_>, keeps_usage: bool) -> Vec<u8> {
        let mut edits = Vec::with_capacity(2);
        // In front of the other edits: the first member may be one that goes.
        if let (false, Some(first)) = (top.members.iter().any(|member| member.key == "model"), top.members.first()) {
            edits.push(model_member(first.span.start, &self.model));
        }
        for (at, member) in top.members.iter().enumerate() {
            match &*member.key {
                "model" => edits.push(Edit { range: member.value_span.clone(), replacement: self.model.clone() }),
                "usage" if keeps_usage => {}
                "usage" if self.include_usage => {
                    edits.push(Edit { range: member.value_span.clone(), replacement: b"null".to_vec() });
                }
                "usage" | "x_groq" if !self.include_usage => edits.push(removal(&top.members, at)),
                _ => {}
            }
        }
        json::splice(text, &mut edits)
    }

    /// The usage chunk, if the client is to have it and the upstream sent one.
    pub fn usage_chunk(&self) -> Option<&[u8]> {
        self.usage_chunk.as_deref().filter(|_| self.include_usage)
    }

    pub const fn wants_usage(&self) -> bool {
        self.include_usage
    }
}

/// Takes a member out together with one of its commas. Neighbours may be taken out as well: the first member that is
/// kept has no comma before it, and every later one keeps its own.
fn removal(members: &[Member<'_>], at: usize) -> Edit {
    let is_removed = |member: &Member<'_>| matches!(&*member.key, "usage" | "x_groq");
    let end = members.get(at).map_or(0, |member| member.span.end);
    let start = members.get(at).map_or(0, |member| member.span.start);
    let has_kept_before = members.iter().take(at).any(|member| !is_removed(member));
    let range = match (has_kept_before, at.checked_sub(1).and_then(|before| members.get(before)), members.get(at + 1)) {
        (true, Some(before), _) => before.span.end..end,
        (_, _, Some(next)) => start..next.span.start,
        _ => start..end,
    };
    Edit { range, replacement: Vec::new() }
}

/// One `data:` event. A newline in JSON is white space, and would end the line.
pub fn put_data(out: &mut BytesMut, data: &[u8]) {
    out.reserve(data.len() + 8);
    out.put_slice(b"data: ");
    let start = out.len();
    out.put_slice(data);
    for byte in out.iter_mut().skip(start).filter(|byte| **byte == b'\n') {
        *byte = b' ';
    }
    out.put_slice(b"\n\n");
}
