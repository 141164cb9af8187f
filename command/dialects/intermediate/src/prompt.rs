//! The texts of a request's messages, on any surface, and those that it wants embedded: the part of a prompt that a
//! tokenizer can count.

use std::borrow::Cow;

use super::json::{self, Kind, elements_if_array};

/// A text of a prompt.
pub struct PromptText<'a> {
    /// The bytes it adds to the bound: for a message all that it takes in the body, quotes included.
    pub bound_bytes: usize,
    pub text: Cow<'a, str>,
}

/// The text content of every message, and the text parts; the instructions beside them; every text to embed or to complete. Tool
/// calls, tool results and tool definitions are left out: how a provider writes them into the prompt is unknown.
pub fn prompt_texts(body: &str) -> impl Iterator<Item = PromptText<'_>> {
    let messages = ["messages", "input"].into_iter().flat_map(|name| members(body, name).flat_map(elements_if_array));
    let contents = messages.flat_map(|message| members(message, "content"));
    let beside = ["system", "instructions"].into_iter().flat_map(|name| members(body, name));
    let of_messages = contents.chain(beside).flat_map(|content| {
        let parts = elements_if_array(content).flat_map(|part| members(part, "text"));
        std::iter::once(content).chain(parts).filter_map(text)
    });
    let inputs = ["input", "prompt"].into_iter().flat_map(|name| members(body, name));
    let inputs = inputs.flat_map(|input| std::iter::once(input).chain(elements_if_array(input)));
    of_messages.chain(inputs.filter_map(text).map(|text| PromptText { bound_bytes: text.text.len(), ..text }))
}

fn text(value: &str) -> Option<PromptText<'_>> {
    if json::kind(value) != Kind::String {
        return None;
    }
    json::string(value).map(|text| PromptText { bound_bytes: value.len(), text })
}

/// Every value under this name: of two, the upstream decides which one counts.
fn members<'a>(object: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let is_one = json::kind(object.trim_start_matches([' ', '\t', '\r', '\n'])) == Kind::Object;
    let members = is_one.then(|| json::members(object).map_while(Result::ok));
    members.into_iter().flatten().filter(move |member| member.name() == name).map(|member| member.value)
}
