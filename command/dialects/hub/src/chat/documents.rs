//! Documents that are text, for dialects without documents.

use super::{Block, ChatRequest, Document, DocumentSource};

/// The request with the text of each document, after its title, in the document's place; `None` if one is not text.
pub fn with_texts_for_documents(chat: &ChatRequest) -> Option<ChatRequest> {
    let mut chat = chat.clone();
    chat.messages.iter_mut().all(|message| put_texts(&mut message.content)).then_some(chat)
}

fn put_texts(blocks: &mut [Block]) -> bool {
    blocks.iter_mut().all(|block| match block {
        Block::Document(Document { source: DocumentSource::Text(text), title }) => {
            let lines: Vec<_> = title.take().into_iter().chain([std::mem::take(text)]).collect();
            *block = Block::Text(lines.join("\n"));
            true
        }
        Block::Document(_) => false,
        Block::ToolResult(result) => put_texts(&mut result.content),
        Block::Text(_) | Block::Image(_) | Block::ToolCall(_) | Block::Reasoning(_) | Block::CachePoint(_) => true,
    })
}
