//! Reads a body: its facts, and the intermediate form's request for targets of another dialect.

use std::ops::Range;

use events::abilities::{Ability, AbilitySet};
use events::refusal::Refusal;
use intermediate::chat::read;
use intermediate::embeddings::{
    DIMENSIONS_MAX, EmbeddingsRequest, Encoding, ExpectedVectors, INPUT_TEMPLATE_TOKENS_MAX, INPUTS_MAX, Inputs,
    Purpose,
};
use intermediate::facts::{AllowedThoughts, Directives, Documents, Facts, Images, ReservedOutput};
use intermediate::fields::{self, Fields, Path, refuse_misspelled};
use intermediate::json::{self, Kind, Member};

use crate::priceable;

/// Known fields, besides those that change the cost.
const KNOWN: [&str; 7] = ["dimensions", "encoding_format", "input", "input_type", "model", "stream", "user"];
/// Fields in which servers take more input, which the bound by `input` would miss: vLLM and Jina take images there.
const MORE_INPUT: [&str; 9] =
    ["audio", "documents", "files", "image", "images", "inputs", "messages", "video", "videos"];
const INPUT: &str = "input";
/// The fields of OpenAI's API, none of which becomes input.
const OWN: [&str; 7] = ["dimensions", "encoding_format", INPUT, "input_type", "model", "stream", "user"];
const NO_COUNTERPART: &str = "has no counterpart at this model's provider";

/// The parts of a body that are kept.
pub struct OpenAiEmbeddingsRequest {
    /// The value of `model` in the body.
    pub model: Range<usize>,
    pub expected: ExpectedVectors,
    /// Upper bound of the input's tokens.
    pub input_tokens_bound: u64,
    /// Estimate of the same, should no usage be reported.
    pub input_tokens_estimate: u64,
    pub longest_input: LongestInput,
}

/// The longest of the inputs, each of which has to fit into the target's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LongestInput {
    /// Upper bound of the tokens of the longest one.
    pub tokens_bound: u64,
    /// The most token ids that one has.
    pub token_ids: u64,
}

impl OpenAiEmbeddingsRequest {
    /// Reads a body. Errors: `INVALID_REQUEST`, and `MODEL_UNPRICED` for input outside of `input`.
    pub fn read(text: &str) -> Result<(Facts, Self), Refusal> {
        let members = top_level(text)?;
        let find = |name: &str| members.iter().find(|member| member.name() == name);
        let at = |name: &'static str| Path::Root.field(name);
        let required = |name| find(name).ok_or_else(|| at(name).refuse("is required"));
        let given = |name: &str| find(name).map(|member| member.value).filter(|value| json::kind(value) != Kind::Null);

        let (model, input) = (required("model")?, required(INPUT)?);
        if let Some(value) = given("stream")
            && fields::boolean(value, &at("stream"))?
        {
            return Err(at("stream").refuse("embeddings cannot be streamed"));
        }
        let mut measured = MeasuredInput::default();
        each_input(input.value, |one| measured.add(&one))?;
        let dimensions = given("dimensions").map(|value| fields::count(value, DIMENSIONS_MAX, &at("dimensions")));
        let user = given("user").map(|value| fields::string(value, &at("user")));
        let (dimensions, _) = (dimensions.transpose()?, user.transpose()?);
        let encoding = given("encoding_format").map_or(Ok(Encoding::Float), encoding)?;
        let mut unpriced = Vec::new();
        for member in &members {
            unpriced.extend(priceable::unpriced_field(member.name(), member.value)?);
        }
        let facts = Facts {
            model: read::model_name(model.value, &at("model"))?,
            streamed: false,
            include_usage: false,
            output_cap: None,
            reserved_output: ReservedOutput::default(),
            thoughts: AllowedThoughts::None,
            choices: 1,
            has_logprobs: false,
            images: Images::default(),
            documents: Documents::default(),
            added_tokens: 0,
            has_tools: false,
            needs: AbilitySet::NONE.with(Ability::Embeddings).with(Ability::Text),
            unpriced,
            directives: Directives::default(),
        };
        // A server may put what it does not share with others before each text.
        let is_foreign = |member: &&Member<'_>| !OWN.contains(&member.name());
        let foreign: usize = members.iter().filter(is_foreign).map(|member| member.span.len()).sum();
        let inputs = u64::try_from(measured.inputs).unwrap_or(u64::MAX);
        let beside = bytes(text.len() - input.value.len()).saturating_add(bytes(foreign).saturating_mul(inputs));
        let request = Self {
            model: model.value_span.clone(),
            expected: ExpectedVectors { count: measured.inputs, dimensions, encoding },
            input_tokens_bound: measured.bound().saturating_add(beside),
            input_tokens_estimate: measured.estimate(),
            longest_input: measured.longest,
        };
        Ok((facts, request))
    }

    /// The intermediate form's request; `body` is the one that this was read from. Errors: `INVALID_REQUEST` for a field that has no
    /// counterpart in the intermediate form.
    pub fn embeddings(&self, body: &[u8]) -> Result<EmbeddingsRequest, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Path::Root.refuse("is not valid UTF-8"))?;
        let mut fields = Fields::read(text, &Path::Root)?;
        for name in ["model", "encoding_format", "stream"] {
            fields.raw(name);
        }
        let (mut texts, mut tokens) = (Vec::new(), Vec::new());
        each_input(fields.raw(INPUT).unwrap_or_default(), |one| {
            match one {
                EmbeddingInput::Text(text) => texts.push(text.into()),
                EmbeddingInput::Tokens { ids, .. } => tokens.push(read::raw(ids)?),
            }
            Ok(())
        })?;
        let request = EmbeddingsRequest {
            inputs: if tokens.is_empty() { Inputs::Texts(texts) } else { Inputs::Tokens(tokens) },
            dimensions: fields.count("dimensions", DIMENSIONS_MAX)?,
            user: fields.string("user")?.map(Into::into),
            purpose: fields.raw("input_type").filter(|value| !fields::is_empty(value)).map(purpose).transpose()?,
        };
        let is_lost = |member: &&Member<'_>| !fields::is_empty(member.value);
        match fields.unread().find(is_lost) {
            Some(lost) => Err(Path::Root.field(lost.name()).refuse(NO_COUNTERPART)),
            None => Ok(request),
        }
    }
}

fn top_level(text: &str) -> Result<Vec<Member<'_>>, Refusal> {
    let members = fields::top_level(text)?;
    for member in &members {
        let known = KNOWN.into_iter().chain(MORE_INPUT).chain(priceable::names());
        refuse_misspelled(member.name(), known, &Path::Root)?;
        if MORE_INPUT.contains(&member.name()) && !fields::is_empty(member.value) {
            let what = "input outside of the field input has no price";
            return Err(priceable::unpriced(&Path::Root.field(member.name()), what));
        }
    }
    Ok(members)
}

fn encoding(value: &str) -> Result<Encoding, Refusal> {
    let path = Path::Root.field("encoding_format");
    match &*fields::string(value, &path)? {
        "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        _ => Err(path.refuse("must be float or base64")),
    }
}

/// `input_type`, which OpenAI does not have, in the words of Cohere, Voyage and NVIDIA.
fn purpose(value: &str) -> Result<Purpose, Refusal> {
    let path = Path::Root.field("input_type");
    match &*fields::string(value, &path)? {
        "search_document" | "document" | "passage" => Ok(Purpose::SearchDocument),
        "search_query" | "query" => Ok(Purpose::SearchQuery),
        "classification" => Ok(Purpose::Classification),
        "clustering" => Ok(Purpose::Clustering),
        _ => Err(path.refuse("must be search_document, search_query, classification or clustering")),
    }
}

/// One input.
enum EmbeddingInput<'a> {
    Text(std::borrow::Cow<'a, str>),
    /// A JSON list of so many token ids.
    Tokens {
        ids: &'a str,
        count: u64,
    },
}

/// Calls `each` for every input: a text, a list of texts, a list of token ids, or a list of such lists.
fn each_input<'a>(
    value: &'a str,
    mut each: impl FnMut(EmbeddingInput<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let path = Path::Root.field(INPUT);
    match json::kind(value) {
        Kind::String => return each(EmbeddingInput::Text(text(value, &path)?)),
        Kind::Array => {}
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Object => {
            return Err(path.refuse("must be a string, or a list of strings or of token ids"));
        }
    }
    let first = json::elements(value).next().and_then(Result::ok).map(json::kind);
    if first == Some(Kind::Number) {
        return each(tokens(value, &path)?);
    }
    let mut count = 0;
    fields::elements(value, &path, |element, element_path| {
        count += 1;
        if count > INPUTS_MAX {
            return Err(path.refuse(format!("has more than {INPUTS_MAX} inputs")));
        }
        match json::kind(element) {
            // All of them are of one kind.
            kind if Some(kind) != first => Err(element_path.refuse("is of another kind than the first")),
            Kind::String => each(EmbeddingInput::Text(text(element, element_path)?)),
            Kind::Array => each(tokens(element, element_path)?),
            _ => Err(element_path.refuse("must be a string or a list of token ids")),
        }
    })?;
    if count == 0 { Err(path.refuse("must not be empty")) } else { Ok(()) }
}

fn text<'a>(value: &'a str, path: &Path<'_>) -> Result<std::borrow::Cow<'a, str>, Refusal> {
    let text = fields::string(value, path)?;
    if text.is_empty() { Err(path.refuse("must not be an empty string")) } else { Ok(text) }
}

fn tokens<'a>(ids: &'a str, path: &Path<'_>) -> Result<EmbeddingInput<'a>, Refusal> {
    let mut count = 0;
    fields::elements(ids, path, |id, path| {
        let is_id = json::integer(id).is_some_and(|id| u32::try_from(id).is_ok());
        if !is_id {
            return Err(path.refuse("must be a token id"));
        }
        count += 1;
        Ok(())
    })?;
    if count == 0 { Err(path.refuse("must not be an empty list")) } else { Ok(EmbeddingInput::Tokens { ids, count }) }
}

/// The sizes of the inputs, which bound their tokens.
#[derive(Default)]
struct MeasuredInput {
    inputs: usize,
    text_bytes: u64,
    token_ids: u64,
    longest: LongestInput,
}

impl MeasuredInput {
    fn add(&mut self, input: &EmbeddingInput<'_>) -> Result<(), Refusal> {
        self.inputs += 1;
        let tokens_bound = match input {
            EmbeddingInput::Text(text) => {
                self.text_bytes += bytes(text.len());
                bytes(text.len())
            }
            EmbeddingInput::Tokens { count, .. } => {
                self.token_ids += count;
                self.longest.token_ids = self.longest.token_ids.max(*count);
                *count
            }
        };
        self.longest.tokens_bound = self.longest.tokens_bound.max(tokens_bound);
        Ok(())
    }

    /// A token is at least one byte of a text.
    fn bound(&self) -> u64 {
        self.text_bytes + self.token_ids + bytes(self.inputs) * INPUT_TEMPLATE_TOKENS_MAX
    }

    const fn estimate(&self) -> u64 {
        self.text_bytes.div_ceil(4) + self.token_ids
    }
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
