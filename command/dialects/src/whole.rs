//! Whole answers: read in the upstream's dialect, rendered on the client's surface.

use bytes::Bytes;

use super::chat::OutputBlock;
use super::passthrough::openai::OpenAiAnswer;
use super::passthrough::shortcut;
use super::shared_dialect::SharedDialect;
use super::upstreams::{self, ProviderKind};
use super::{Metered, Receipt, Surface, UpstreamFault};

/// A whole answer that was read and measured, but not yet given away.
pub struct WholeAnswer {
    pub metered: Metered,
    content: Content,
}

enum Content {
    /// The same dialect on both sides: bytes, but for the model's name.
    OpenAi(OpenAiAnswer),
    Blocks {
        blocks: Vec<OutputBlock>,
        surface: Surface,
    },
}

/// A whole body that is no answer, and what it says was used all the same.
#[derive(Debug)]
pub struct FailedAnswer {
    pub fault: UpstreamFault,
    pub metered: Box<Metered>,
}

/// Reads the whole body of an upstream's 200. Errors: it is no JSON of the dialect (HTML, cut off), it is an error
/// after all, it has no answer in it. [`UpstreamFault::Truncated`] and [`UpstreamFault::TooLarge`] are for streams: who
/// collects the body knows them first.
pub fn read_whole(kind: ProviderKind, surface: Surface, body: Bytes) -> Result<WholeAnswer, FailedAnswer> {
    let mut metered = Metered::default();
    let content = read(kind, surface, &body, &mut metered);
    metered.read_reports(upstreams::of(kind).reported);
    match content {
        Ok(content) => {
            metered.conclude();
            Ok(WholeAnswer { metered, content })
        }
        Err(fault) => Err(FailedAnswer { fault, metered: Box::new(metered) }),
    }
}

fn read(kind: ProviderKind, surface: Surface, body: &Bytes, metered: &mut Metered) -> Result<Content, UpstreamFault> {
    match shortcut(surface, kind) {
        Some(SharedDialect::OpenAi) => Ok(Content::OpenAi(OpenAiAnswer::read(body, metered)?)),
        None => {
            let text = std::str::from_utf8(body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
            let blocks = (upstreams::of(kind).read_blocks)(text, metered)?;
            Ok(Content::Blocks { blocks, surface })
        }
    }
}

impl WholeAnswer {
    /// The body for the client, with a line end: behind an answer to curl the prompt then stands on a line of its own.
    pub fn render(&self, receipt: &Receipt<'_>) -> Bytes {
        let mut out = match &self.content {
            Content::OpenAi(answer) => answer.render(receipt.frontend_model),
            Content::Blocks { blocks, surface } => (surface.spec().answer)(blocks, receipt),
        };
        out.push(b'\n');
        out.into()
    }
}
