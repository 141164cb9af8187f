//! Whole answers: read in the upstream's dialect, rendered on the client's surface.

use bytes::Bytes;

use super::{Metered, Receipt, Surface, UpstreamDialect, UpstreamFault, anthropic, native, openai};
use crate::chat::OutputBlock;

/// A whole answer that was read and measured, but not yet given away.
pub struct WholeAnswer {
    pub metered: Metered,
    said: What,
}

enum What {
    /// The same dialect on both sides: bytes, but for the model's name.
    OpenAi(openai::OpenAiAnswer),
    Blocks {
        blocks: Vec<OutputBlock>,
        surface: Surface,
    },
}

/// Reads the whole body of an upstream's 200. Errors: it is no JSON of the dialect (HTML, cut off), it is an error
/// after all, it has no answer in it. [`UpstreamFault::Truncated`] and [`UpstreamFault::TooLarge`] are for streams: who
/// collects the body knows them first.
pub fn read_whole(dialect: UpstreamDialect, surface: Surface, body: Bytes) -> Result<WholeAnswer, UpstreamFault> {
    let mut metered = Metered::default();
    let said = match (dialect, surface) {
        (UpstreamDialect::OpenAi, Surface::OpenAi) => What::OpenAi(openai::OpenAiAnswer::read(&body, &mut metered)?),
        _ => {
            let text = std::str::from_utf8(&body).map_err(|_| UpstreamFault::Malformed("not UTF-8"))?;
            let blocks = match dialect {
                UpstreamDialect::OpenAi => openai::read_blocks(text, &mut metered)?,
                UpstreamDialect::Anthropic => anthropic::read_blocks(text, &mut metered)?,
            };
            What::Blocks { blocks, surface }
        }
    };
    metered.read_reports(dialect);
    metered.conclude();
    Ok(WholeAnswer { metered, said })
}

impl WholeAnswer {
    /// The body for the client, with a line end: behind an answer to curl the prompt then stands on a line of its own.
    pub fn render(&self, receipt: &Receipt<'_>) -> Bytes {
        let mut out = match &self.said {
            What::OpenAi(answer) => answer.render(receipt.frontend_model),
            What::Blocks { blocks, surface } => {
                let mut out = Vec::with_capacity(1024);
                match surface {
                    Surface::Native => native::answer(blocks, receipt, &mut out),
                    Surface::OpenAi => openai::completion(blocks, receipt, &mut out),
                }
                out
            }
        };
        out.push(b'\n');
        out.into()
    }
}
