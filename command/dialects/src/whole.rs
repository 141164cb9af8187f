//! Whole responses: read in the upstream's dialect, rendered for the client's surface.

use bytes::Bytes;

use super::chat::AnswerChoice;
use super::passthrough::anthropic::AnthropicAnswer;
use super::passthrough::openai::OpenAiAnswer;
use super::passthrough::shortcut;
use super::shared_dialect::SharedDialect;
use super::upstreams::{self, ProviderKind};
use super::{Metered, Receipt, Surface, UpstreamFault};

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
    let mut metered = Metered::default();
    let content = read(kind, surface, &body, &mut metered);
    metered.read_reports(upstreams::of(kind).read_report);
    match content {
        Ok(content) => {
            metered.conclude();
            Ok(WholeAnswer { metered, content })
        }
        Err(fault) => Err(FailedAnswer { fault, metered: Box::new(metered) }),
    }
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
            let choices = (upstreams::of(kind).read_choices)(text, metered)?;
            Ok(AnswerContent::Choices { choices, surface })
        }
    }
}

impl WholeAnswer {
    /// The body for the client. It ends in a newline, so that the shell's prompt after `curl` is on its own line.
    pub fn render(&self, receipt: &Receipt<'_>) -> Bytes {
        let mut out = match &self.content {
            AnswerContent::OpenAi(answer) => answer.render(receipt.frontend_model),
            AnswerContent::Anthropic(answer) => answer.render(receipt.frontend_model),
            AnswerContent::Choices { choices, surface } => (surface.spec().answer)(choices, receipt),
        };
        out.push(b'\n');
        out.into()
    }
}
