//! Reads a chunk or a whole response of the OpenAI dialect, with the deviations of compatible servers. Strings stay raw
//! JSON until they are needed.

use std::collections::BTreeMap;

use intermediate::framing::Event;
use intermediate::json::{self, Edit, Kind, Member};
use intermediate::report::count;
use intermediate::{FinishReason, Metered, UpstreamFault};

use super::call_numbers::{CallMark, CallNumbers};
use crate::{ProviderKind, in_band, is_out_of_money};

/// Choices per response: the most that a client can ask for.
pub const CHOICES_MAX: usize = 128;

/// The choices that have begun and ended.
#[derive(Default)]
pub struct Choices {
    seen: u128,
    finished: u128,
    /// Those that have called a tool.
    calling: u128,
    /// Those that have done so in `tool_calls`, and not in the deprecated member.
    listing: u128,
    /// The numbers of their calls, if a client of this dialect reads them as a stream.
    numbering: Option<Numbering>,
    reports: ChoiceReports,
}

/// The numbers of the calls of each choice, and the choices in which one had to be changed.
#[derive(Default)]
struct Numbering {
    numbers: CallNumbers,
    changed: u128,
}

/// The reports that are in choices, as Moonshot has them in streams: each has the prompt, and the output of its choice.
#[derive(Default)]
struct ChoiceReports {
    /// This chunk has a report beside the choices. It is of all of them, and counts alone.
    are_summed_beside: bool,
    /// The output tokens of each choice, and their sum.
    outputs: BTreeMap<u64, u64>,
    output: u64,
}

impl ChoiceReports {
    /// Adds the report in a choice. The outputs of several choices are summed.
    fn add(&mut self, index: u64, usage: &str, metered: &mut Metered) {
        if self.are_summed_beside || bit(index) == 0 {
            return;
        }
        metered.add_report(usage, true);
        let Some(output) = json::field(usage, "completion_tokens").and_then(count) else { return };
        let earlier = self.outputs.insert(index, output).unwrap_or(0);
        self.output = self.output - earlier + output;
        if self.outputs.len() > 1 {
            metered.add_report(&format!(r#"{{"completion_tokens":{}}}"#, self.output), true);
        }
    }
}

impl Choices {
    /// The choices of a stream to a client of this dialect, whose calls must have an index each.
    pub fn numbering_calls() -> Self {
        Self { numbering: Some(Numbering::default()), ..Self::default() }
    }

    /// True if the choice has had a finish reason.
    pub fn has_ended(&self, index: u64) -> bool {
        self.finished & bit(index) != 0
    }

    /// Bytes of memory taken.
    pub fn held_bytes(&self) -> usize {
        let numbers = self.numbering.as_ref().map_or(0, |numbering| numbering.numbers.held_bytes());
        numbers + self.reports.outputs.len() * size_of::<(u64, u64)>()
    }

    /// Notes whether a chunk has a report beside its choices, which are read next.
    pub const fn note_report(&mut self, top: &TopLevel<'_>) {
        self.reports.are_summed_beside = top.usage.is_some();
    }

    /// Notes the end of a choice in a chunk, and what it reports. Returns its finish reason, if it has one; all its pieces
    /// are noted before.
    pub fn end(&mut self, index: u64, end: &ChoiceEnd<'_>, metered: &mut Metered) -> Option<FinishReason> {
        self.note(index, end.finish.is_some());
        if let Some(usage) = end.usage {
            self.reports.add(index, usage, metered);
        }
        let finish = self.reason(index, end.finish);
        note_finish(metered, index, finish);
        finish
    }

    /// The change to a piece of a call whose index is missing, or is that of another call.
    fn call_correction<'a>(&mut self, choice: u64, call: &CallPiece<'a>) -> Option<Correction<'a>> {
        let element = call.element.filter(|element| json::kind(element) == Kind::Object)?;
        let bit = bit(choice);
        self.listing |= if call.is_empty() { 0 } else { bit };
        let numbering = self.numbering.as_mut().filter(|_| bit != 0)?;
        let index = numbering.numbers.index(choice, call.index, call.mark())?;
        (call.index != Some(index)).then(|| {
            numbering.changed |= bit;
            Correction::CallIndex { call: element, index }
        })
    }

    /// The change to a finish reason that says nothing of the calls before it. OpenAI's own streams have `stop` too if the
    /// request named the tool: in a stream only that of a choice is changed whose calls were.
    fn finish_correction<'a>(&self, index: u64, end: &ChoiceEnd<'a>) -> Option<Correction<'a>> {
        let is_due = self.numbering.as_ref().is_none_or(|numbering| numbering.changed & bit(index) != 0);
        let is_wrong = self.listing & bit(index) != 0 && self.reason(index, end.finish) != end.finish;
        (is_due && is_wrong).then_some(Correction::Finish { value: end.value })
    }

    /// True if there is a choice and every one that began has ended.
    pub const fn all_finished(&self) -> bool {
        self.finished != 0 && self.seen & !self.finished == 0
    }

    /// Notes a piece of a call, unless it says nothing.
    pub fn note_call(&mut self, index: u64, call: &CallPiece<'_>) {
        if !call.is_empty() {
            self.calling |= bit(index);
        }
    }

    /// The finish reason of a choice, of which all pieces are noted.
    fn reason(&self, index: u64, finish: Option<FinishReason>) -> Option<FinishReason> {
        finish.map(|finish| with_calls(finish, usize::from(self.calling & bit(index) != 0)))
    }

    pub fn note(&mut self, index: u64, finished: bool) {
        let bit = bit(index);
        self.seen |= bit;
        if finished {
            self.finished |= bit;
        }
    }
}

/// The bit of a choice; 0 for a number that no client can have asked for.
fn bit(index: u64) -> u128 {
    u32::try_from(index).ok().and_then(|index| 1_u128.checked_shl(index)).unwrap_or(0)
}

/// The top level of a chunk or of a whole response.
pub struct TopLevel<'a> {
    pub members: Vec<Member<'a>>,
    pub choices: Option<&'a str>,
    /// The usage report, beside the choices or where Groq puts it.
    pub usage: Option<&'a str>,
}

/// The chunk in an event; `None` for the terminal marker, which concludes the measurements. Errors: an error event.
pub fn chunk_of<'a>(event: Event<'a>, metered: &mut Metered) -> Result<Option<&'a str>, UpstreamFault> {
    // An event of this name is an error, whatever its data is.
    if event.name == "error" {
        return Err(in_band(ProviderKind::Openai, event.data, true));
    }
    if event.data.trim_ascii() == "[DONE]" {
        metered.conclude();
        return Ok(None);
    }
    Ok(Some(event.data))
}

/// Reads the top level. Errors: not a JSON object, an error in band.
pub fn top_level<'a>(text: &'a str, metered: &mut Metered) -> Result<TopLevel<'a>, UpstreamFault> {
    let mut members = Vec::with_capacity(10);
    for member in json::known_members(text) {
        members.push(member?);
    }
    let find = |name: &str| {
        let member = members.iter().find(|member: &&Member<'a>| member.name() == name)?;
        (json::kind(member.value) != Kind::Null).then_some(member.value)
    };
    // Read the usage first: an error may report what was used before it.
    let usage = find("usage")
        .or_else(|| json::field(find("x_groq")?, "usage"))
        .filter(|usage| json::kind(usage) == Kind::Object);
    if let Some(usage) = usage {
        metered.add_report(usage, true);
    }
    let no_error = [r#""""#, "{}", "false"];
    if let Some(error) = find("error").filter(|error| !no_error.contains(error)) {
        return Err(in_band(ProviderKind::Openai, text, is_retryable(error)));
    }
    // Groq's reason for a stream that was stopped early. It has no finish reason, and `[DONE]` follows.
    let stopped = find("x_groq").and_then(|groq| json::field(groq, "error"));
    if stopped.is_some_and(|error| !no_error.contains(&error)) {
        return Err(in_band(ProviderKind::Openai, text, true));
    }
    // Older versions of vLLM have flat errors.
    if find("object") == Some(r#""error""#) {
        return Err(in_band(ProviderKind::Openai, text, is_retryable(text)));
    }
    // Every chunk may have it, and the first and the last are enough.
    if usage.is_some() || metered.upstream_id.is_none() {
        metered.keep_service_tier(find("service_tier"));
    }
    metered.keep_id_and_model(find("id"), find("model"));
    let choices = find("choices").filter(|choices| json::kind(choices) == Kind::Array);
    Ok(TopLevel { choices, usage, members })
}

/// True for errors of the upstream's own state. A code or status of 4xx other than 408 and 429, or a code about money,
/// is not retryable.
fn is_retryable(error: &str) -> bool {
    let [code, status, kind] = json::find(error, ["code", "status", "type"]);
    let number = code.or(status).and_then(|code| json::integer(code).or_else(|| json::string(code)?.parse().ok()));
    let is_money = [code, kind].into_iter().flatten().filter_map(json::string).any(|word| is_out_of_money(&word));
    !is_money && number.is_none_or(|code| matches!(code, 408 | 429) || !(400..500).contains(&code))
}

/// The finish reason; `None` for null, the empty string (xAI) and other kinds of values.
fn finish_reason(value: &str) -> Option<FinishReason> {
    let word = json::string(value)?;
    Some(match &*word {
        "" => return None,
        "length" | "model_length" | "max_tokens" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        "error" | "insufficient_system_resource" => FinishReason::Error,
        _ => FinishReason::Stop, // `stop`, Together's `eos`, and other servers' words
    })
}

/// Reads one choice piece by piece. `delta` and `message` have the same members.
pub fn read_choice<'a>(
    choice: &'a str,
    each: &mut impl FnMut(u64, Piece<'a>) -> Result<(), UpstreamFault>,
) -> Result<(), UpstreamFault> {
    let (mut index, mut body, mut logprobs, mut end) = (0, None, None, ChoiceEnd::default());
    for member in json::known_members(choice) {
        let member = member?;
        match member.name() {
            "index" => index = json::integer(member.value).unwrap_or(0),
            "delta" | "message" if json::kind(member.value) == Kind::Object => body = Some(member.value),
            "logprobs" if json::kind(member.value) == Kind::Object => logprobs = Some(member.value),
            "finish_reason" => (end.finish, end.value) = (finish_reason(member.value), member.value),
            "usage" if json::kind(member.value) == Kind::Object => end.usage = Some(member.value),
            _ => {}
        }
    }
    if let Some(body) = body {
        read_message(body, &mut |piece| each(index, piece))?;
    }
    if let Some(logprobs) = logprobs {
        each(index, Piece::Logprobs(logprobs))?;
    }
    each(index, Piece::End(end))
}

/// One piece of a choice. Strings are raw JSON values.
pub enum Piece<'a> {
    Text(&'a str),
    Reasoning(&'a str),
    Call(CallPiece<'a>),
    /// Probabilities of the tokens in this chunk: an object.
    Logprobs(&'a str),
    /// The end of the choice in this chunk.
    End(ChoiceEnd<'a>),
}

/// The members of a choice that follow from its pieces.
#[derive(Clone, Copy, Default)]
pub struct ChoiceEnd<'a> {
    pub finish: Option<FinishReason>,
    /// The finish reason as it is written.
    value: &'a str,
    /// Moonshot's report, which is here in the last chunk of a stream.
    pub usage: Option<&'a str>,
}

/// A change to a chunk or to a whole response of a server that deviates from OpenAI where strict clients notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Correction<'a> {
    /// The index of a piece of a call.
    CallIndex { call: &'a str, index: u64 },
    /// The finish reason of a choice that calls tools.
    Finish { value: &'a str },
}

impl Correction<'_> {
    fn edit(&self, text: &str) -> Edit {
        match self {
            Self::CallIndex { call, index } => {
                let mut members = json::members(call).map_while(Result::ok);
                let first = members.next();
                let has_index = |member: &Member<'_>| member.name() == "index";
                let written = first.clone().into_iter().chain(members).find(has_index);
                match (written, first) {
                    (Some(member), _) => {
                        Edit { range: json::span(text, member.value), replacement: index.to_string().into_bytes() }
                    }
                    (None, first) => {
                        let start = json::span(text, call).start + 1;
                        let comma = if first.is_some() { "," } else { "" };
                        Edit { range: start..start, replacement: format!(r#""index":{index}{comma}"#).into_bytes() }
                    }
                }
            }
            Self::Finish { value } => Edit { range: json::span(text, value), replacement: br#""tool_calls""#.to_vec() },
        }
    }
}

/// A call or a piece of one, as raw values.
pub struct CallPiece<'a> {
    /// Its index among the calls.
    pub index: Option<u64>,
    pub id: Option<&'a str>,
    pub name: Option<&'a str>,
    /// Text, or of some servers an object.
    pub arguments: Option<&'a str>,
    /// Google's `extra_content.google.thought_signature`.
    pub signature: Option<&'a str>,
    /// The element of `tool_calls` that it was read from.
    element: Option<&'a str>,
}

impl CallPiece<'_> {
    /// True if it says nothing.
    pub fn is_empty(&self) -> bool {
        let says = |value: &str| json::kind(value) != Kind::String || json::string_bytes(value) > 0;
        ![self.id, self.name, self.arguments].into_iter().flatten().any(says)
    }

    fn mark(&self) -> CallMark {
        let [id, name, arguments] = [self.id, self.name, self.arguments]
            .map(|value| value.filter(|value| *value != r#""""#).unwrap_or_default());
        CallMark::of(id, name, arguments)
    }

    /// Adds its name and its arguments to the text of the answer. Returns their UTF-8 bytes.
    fn measure(&self, metered: &mut Metered) -> u64 {
        let name = self.name.map_or(0, |name| metered.add_json_text(name));
        let arguments = match self.arguments {
            Some(object) if json::kind(object) == Kind::Object => {
                metered.add_text(object);
                u64::try_from(object.len()).unwrap_or(u64::MAX)
            }
            arguments => arguments.map_or(0, |arguments| metered.add_json_text(arguments)),
        };
        name + arguments
    }
}

fn read_message<'a>(
    message: &'a str,
    each: &mut impl FnMut(Piece<'a>) -> Result<(), UpstreamFault>,
) -> Result<(), UpstreamFault> {
    let (mut reasoning, mut content, mut refusal, mut calls, mut deprecated) = (None, None, None, None, None);
    for member in json::known_members(message) {
        let member = member?;
        let slot = match member.name() {
            "reasoning_content" | "reasoning" => &mut reasoning,
            "content" => &mut content,
            "refusal" => &mut refusal,
            "tool_calls" => &mut calls,
            "function_call" => &mut deprecated,
            _ => continue,
        };
        // Together sends its reasoning under both names: the first counts.
        if slot.is_none() && json::kind(member.value) != Kind::Null {
            *slot = Some(member.value);
        }
    }
    if let Some(value) = reasoning {
        each(Piece::Reasoning(value))?;
    }
    match content {
        Some(value) if json::kind(value) == Kind::Array => read_parts(value, each)?,
        Some(value) => each(Piece::Text(value))?,
        None => {}
    }
    if let Some(value) = refusal {
        each(Piece::Text(value))?;
    }
    for call in calls.map(json::elements).into_iter().flatten() {
        let call = call?;
        each(Piece::Call(CallPiece { element: Some(call), ..call_piece(call)? }))?;
    }
    // Some servers always have the deprecated member, and leave it empty.
    match deprecated.map(call_piece).transpose()?.filter(|call| !call.is_empty()) {
        Some(call) => each(Piece::Call(call)),
        None => Ok(()),
    }
}

/// Reads Mistral's list of text and reasoning.
fn read_parts<'a>(
    parts: &'a str,
    each: &mut impl FnMut(Piece<'a>) -> Result<(), UpstreamFault>,
) -> Result<(), UpstreamFault> {
    for part in json::elements(parts) {
        let [text, thinking] = json::pick(part?, ["text", "thinking"])?;
        if let Some(text) = text {
            each(Piece::Text(text))?;
        }
        for thought in thinking.map(json::elements).into_iter().flatten() {
            if let [Some(text)] = json::pick(thought?, ["text"])? {
                each(Piece::Reasoning(text))?;
            }
        }
    }
    Ok(())
}

/// Reads a call. Name and arguments are in `function`, in `custom` for a custom tool, or at the top level for the
/// deprecated `function_call`.
fn call_piece(call: &str) -> Result<CallPiece<'_>, UpstreamFault> {
    let [index, id, function, custom, name, arguments, input, extra] =
        json::pick(call, ["index", "id", "function", "custom", "name", "arguments", "input", "extra_content"])?;
    let [name, arguments, input] = match function.or(custom) {
        Some(inside) => json::pick(inside, ["name", "arguments", "input"])?,
        None => [name, arguments, input],
    };
    let index = index.and_then(json::integer);
    let google = extra.and_then(|extra| json::field(extra, "google"));
    let signature = google.and_then(|google| json::field(google, "thought_signature"));
    Ok(CallPiece { index, id, name, arguments: arguments.or(input), signature, element: None })
}

/// Adds the UTF-8 bytes of a piece to the measurements; true if there are any.
pub fn measure(piece: &Piece<'_>, metered: &mut Metered) -> bool {
    let bytes = match piece {
        Piece::Text(value) => metered.add_json_text(value),
        Piece::Reasoning(value) => {
            let reasoning = json::string_bytes(value);
            metered.reasoning_bytes += reasoning;
            reasoning
        }
        Piece::Call(call) => {
            metered.calls_tools |= !call.is_empty();
            call.measure(metered)
        }
        Piece::Logprobs(_) | Piece::End(_) => 0,
    };
    bytes > 0
}

/// The choices of a list, or none. More than a client can ask for are a fault, because unmeasured ones would be free.
pub fn choices_of(list: Option<&str>) -> impl Iterator<Item = Result<&str, UpstreamFault>> {
    let choices = list.map(json::elements).into_iter().flatten().enumerate();
    choices.map(|(at, choice)| if at < CHOICES_MAX { Ok(choice?) } else { Err(UpstreamFault::TooLarge) })
}

/// The measured content of a chunk's choices.
pub struct Measured<'a> {
    pub has_content: bool,
    pub has_choices: bool,
    /// Every choice had ended before, and has nothing in this chunk.
    pub adds_nothing: bool,
    /// A choice has a report.
    pub has_report: bool,
    /// The only piece of the only choice, a text or reasoning, if that has no finish reason.
    pub only_text: Option<Piece<'a>>,
    /// Edits of the text for strict clients. Empty for servers that do as OpenAI does.
    pub edits: Vec<Edit>,
}

/// Measures every choice of a text with this top level.
pub fn measure_choices<'a>(
    text: &'a str,
    top: &TopLevel<'a>,
    metered: &mut Metered,
    choices: &mut Choices,
) -> Result<Measured<'a>, UpstreamFault> {
    let mut measured = Measured {
        has_content: false,
        has_choices: false,
        adds_nothing: true,
        has_report: false,
        only_text: None,
        edits: Vec::new(),
    };
    let mut pieces = 0;
    choices.note_report(top);
    for choice in choices_of(top.choices) {
        measured.has_choices = true;
        read_choice(choice?, &mut |index, piece| {
            let has_content = measure(&piece, metered) || matches!(piece, Piece::Call(_));
            measured.has_content |= has_content;
            measured.adds_nothing &= !has_content && choices.has_ended(index);
            match piece {
                Piece::End(end) => {
                    measured.edits.extend(choices.finish_correction(index, &end).map(|change| change.edit(text)));
                    choices.end(index, &end, metered);
                    measured.has_report |= end.usage.is_some();
                    pieces += usize::from(end.finish.is_some() || end.usage.is_some());
                }
                piece => {
                    match &piece {
                        Piece::Call(call) => {
                            measured.edits.extend(choices.call_correction(index, call).map(|change| change.edit(text)));
                            choices.note_call(index, call);
                        }
                        Piece::Logprobs(_) => measured.adds_nothing = false,
                        _ => {}
                    }
                    pieces += 1;
                    measured.only_text = Some(piece);
                }
            }
            Ok(())
        })?;
    }
    measured.adds_nothing = measured.adds_nothing && choices_of(top.choices).map_while(Result::ok).all(has_empty_delta);
    let is_text = |piece: &Piece<'_>| matches!(piece, Piece::Text(_) | Piece::Reasoning(_));
    measured.only_text = measured.only_text.filter(|piece| pieces == 1 && is_text(piece));
    Ok(measured)
}

/// True if the delta of a choice has no more than a role: no citations, pictures or other members that are not read here.
fn has_empty_delta(choice: &str) -> bool {
    let is_empty =
        |member: Member<'_>| member.name() == "role" || [r#""""#, "null", "[]", "{}"].contains(&member.value);
    let delta = json::field(choice, "delta").filter(|delta| json::kind(delta) == Kind::Object);
    delta.is_none_or(|delta| json::members(delta).map_while(Result::ok).all(is_empty))
}

/// The finish reason of a choice that calls tools: OpenAI says `stop` if `tool_choice` named the tool, Gemini always, and
/// compatible servers of any dialect may.
pub fn with_calls(finish: FinishReason, calls: usize) -> FinishReason {
    if finish == FinishReason::Stop && calls > 0 { FinishReason::ToolCalls } else { finish }
}

/// Records the finish reason: that of the first choice, or any other's until it is known.
pub fn note_finish(metered: &mut Metered, index: u64, finish: Option<FinishReason>) {
    if index == 0 || metered.finish_reason.is_none() {
        metered.finish_reason = finish.or(metered.finish_reason);
    }
}
