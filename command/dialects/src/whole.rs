//! Whole responses: read in the upstream's dialect, rendered for the client's surface. That is done at the end, once the
//! money is settled; whatever can fail has been done by then.

use bytes::Bytes;
use events::content::AnswerText;
use intermediate::chat::{AnswerChoice, CallIds};
use intermediate::embeddings::ExpectedVectors;
use intermediate::embeddings::vectors::Vectors;
use intermediate::shared_dialect::SharedDialect;
use intermediate::{FinishReason, Metered, Receipt, UpstreamFault, json};
use provider_dialects::ProviderKind;
use surfaces::{Surface, openai_embeddings};

use super::kept_calls::KeptCalls;
use super::passthrough::anthropic::AnthropicAnswer;
use super::passthrough::openai::OpenAiAnswer;
use super::passthrough::shortcut;

/// A whole response that was read and measured, but not sent yet.
pub struct WholeAnswer {
    pub metered: Metered,
    content: AnswerContent,
}

enum AnswerContent {
    /// Both sides speak one dialect: the upstream's bytes with the model renamed.
    OpenAi(OpenAiAnswer),
    Anthropic(AnthropicAnswer),
    Choices {
        choices: Vec<AnswerChoice>,
        surface: Surface,
    },
    /// `data` as it is written for the client.
    Embeddings(Vec<u8>),
}

/// How the answer to a request is read.
#[derive(Clone, Copy, Debug)]
pub enum AnswerReader {
    Chat(Surface, KeptCalls),
    Embeddings(Surface, ExpectedVectors),
}

impl AnswerReader {
    /// True if reading takes so long for each byte that a connection thread should not do it: every number of a vector is checked.
    pub const fn is_slow(self) -> bool {
        matches!(self, Self::Embeddings(..))
    }

    /// Returns the reader for an answer of which the client gets these calls only.
    #[must_use]
    pub const fn keeping(self, calls: KeptCalls) -> Self {
        match self {
            Self::Chat(surface, _) => Self::Chat(surface, calls),
            Self::Embeddings(..) => self,
        }
    }

    /// See [`read_whole`]. Embeddings must also be those that were asked for. The text goes through `answer`.
    pub fn read(
        self,
        kind: ProviderKind,
        body: Bytes,
        answer: Option<Box<AnswerText>>,
    ) -> Result<WholeAnswer, FailedAnswer> {
        match self {
            Self::Chat(surface, calls) => {
                Ok(read_measured(kind, surface, body, Metered::of_answer(answer))?.keeping(calls))
            }
            Self::Embeddings(surface, expected) => read_embeddings(kind, surface, &expected, &body),
        }
    }
}

/// A body that is not a valid response, and the usage that it reports nevertheless.
#[derive(Debug)]
pub struct FailedAnswer {
    pub fault: UpstreamFault,
    pub metered: Box<Metered>,
}

/// Reads the whole body of an upstream's 200. Errors: the body is not JSON of the dialect (HTML, truncated), is an
/// error, has no response in it, or exceeds a bound of its parts. The caller, which collects the body, bounds its
/// length.
pub fn read_whole(kind: ProviderKind, surface: Surface, body: Bytes) -> Result<WholeAnswer, FailedAnswer> {
    read_measured(kind, surface, body, Metered::default())
}

/// Does the same as [`read_whole`], into these measurements.
fn read_measured(
    kind: ProviderKind,
    surface: Surface,
    body: Bytes,
    mut metered: Metered,
) -> Result<WholeAnswer, FailedAnswer> {
    let content = read(kind, surface, &body, &mut metered);
    metered.read_reports(provider_dialects::of(kind).read_report);
    match content {
        Ok(content) => {
            metered.conclude();
            Ok(WholeAnswer { metered, content })
        }
        Err(fault) => Err(FailedAnswer { fault, metered: Box::new(metered) }),
    }
}

fn read_embeddings(
    kind: ProviderKind,
    surface: Surface,
    expected: &ExpectedVectors,
    body: &Bytes,
) -> Result<WholeAnswer, FailedAnswer> {
    let mut metered = Metered::default();
    // DeepSeek's blank lines, which keep a connection alive, may come before any JSON.
    let body = body.slice_ref(body.trim_ascii());
    let vectors = vectors(kind, expected, &body, &mut metered);
    metered.read_reports(provider_dialects::of(kind).read_report);
    metered.all_is_input();
    // Without a report, the client is told what was counted instead, which it is billed for.
    let may_be_passed_on = metered.has_report() && shortcut(surface, kind) == Some(SharedDialect::OpenAi);
    let content = vectors.and_then(|(text, vectors)| match may_be_passed_on && vectors.are_in(expected.encoding) {
        true => {
            let members = json::known_members(text).collect::<Result<Vec<_>, _>>()?;
            Ok(AnswerContent::OpenAi(OpenAiAnswer::renaming(body.clone(), &members)))
        }
        false => Ok(AnswerContent::Embeddings(openai_embeddings::data(&vectors, expected.encoding)?)),
    });
    match content {
        Ok(content) => Ok(WholeAnswer { metered, content }),
        Err(fault) => Err(FailedAnswer { fault, metered: Box::new(metered) }),
    }
}

/// The text of the body, and its vectors.
fn vectors<'a>(
    kind: ProviderKind,
    expected: &ExpectedVectors,
    body: &'a [u8],
    metered: &mut Metered,
) -> Result<(&'a str, Vectors<'a>), UpstreamFault> {
    let api = provider_dialects::of(kind).embeddings.as_ref().ok_or(UpstreamFault::Malformed("no embeddings"))?;
    let text = std::str::from_utf8(body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
    Ok((text, Vectors::check(&(api.read_vectors)(text, metered)?, expected)?))
}

fn read(
    kind: ProviderKind,
    surface: Surface,
    body: &Bytes,
    metered: &mut Metered,
) -> Result<AnswerContent, UpstreamFault> {
    match shortcut(surface, kind) {
        Some(SharedDialect::OpenAi) => Ok(AnswerContent::OpenAi(OpenAiAnswer::read(body, metered)?)),
        Some(SharedDialect::Anthropic) => Ok(AnswerContent::Anthropic(AnthropicAnswer::read(body, metered)?)),
        None => {
            let text = std::str::from_utf8(body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
            let choices = (provider_dialects::of(kind).read_choices)(text, metered)?;
            let all_failed = choices.iter().all(|choice| choice.finish_reason == Some(FinishReason::Error));
            if all_failed && !surface.spec().has_error_reason {
                return Err(UpstreamFault::UNEXPLAINED);
            }
            Ok(AnswerContent::Choices { choices, surface })
        }
    }
}

impl WholeAnswer {
    /// The answer with these of its tool calls, if it is translated.
    fn keeping(mut self, calls: KeptCalls) -> Self {
        if let AnswerContent::Choices { choices, .. } = &mut self.content {
            calls.keep_in(choices);
        }
        self
    }

    /// The body for the client. It ends in a newline, so that the shell's prompt after `curl` is on its own line.
    pub fn render(&self, receipt: &Receipt<'_>) -> Bytes {
        let mut out = match &self.content {
            AnswerContent::OpenAi(answer) => answer.render(receipt.frontend_model),
            AnswerContent::Anthropic(answer) => answer.render(receipt.frontend_model),
            AnswerContent::Choices { choices, surface: Surface::Anthropic } => {
                (Surface::Anthropic.spec().answer)(choices, receipt)
            }
            AnswerContent::Choices { choices, surface } => {
                (surface.spec().answer)(&CallIds::of(receipt.request_id).completed(choices), receipt)
            }
            AnswerContent::Embeddings(data) => openai_embeddings::answer(data, receipt),
        };
        out.push(b'\n');
        out.into()
    }
}
