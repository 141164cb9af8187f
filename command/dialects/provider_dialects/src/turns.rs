//! Turns of a conversation as Claude takes them, in Anthropic's body and in Converse's: roles alternate, no turn is empty,
//! and no text is blank.
//!
//! - Anthropic refuses an empty text wherever it is, and text of white space alone where a message has no other:
//!   "text content blocks must contain non-whitespace text". Converse refuses all blank text. So all of it is left out.
//! - Without its last turn, a conversation that ends with blank text of the user would end with the assistant's turn, which
//!   models continue or refuse. Without its first turn, Converse refuses a conversation: "A conversation must start with a
//!   user message". Such a turn says [`PLACEHOLDER_TEXT`], which is not longer than the JSON of the message that it stands for.
//! - "final assistant content cannot end with trailing whitespace": it is cut off.
//!
//! Sources: <https://docs.claude.com/en/api/messages>, <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>
//! and the messages of refusals, which say what the references do not.

/// The text of a user's turn that has nothing but blank text, where the conversation needs the turn.
pub const PLACEHOLDER_TEXT: &str = ".";

pub const USER: &str = "user";
pub const ASSISTANT: &str = "assistant";

/// A turn in one of the dialects.
pub trait ConversationTurn {
    fn new(role: &'static str, blocks: usize) -> Self;
    fn role(&self) -> &'static str;
    fn is_empty(&self) -> bool;
    fn push_text(&mut self, text: &'static str);
    /// Cuts off the white space at the end of the turn, if its last block is text.
    fn trim_end(&mut self);
}

/// The text, unless it is empty or white space alone.
pub fn unless_blank(text: &str) -> Option<&str> {
    // Python and Java call these four white space as well.
    let is_white = |letter: char| letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter);
    (!text.chars().all(is_white)).then_some(text)
}

/// The turn that a message of this role and so many blocks belongs to: the last one, or else a new one.
pub fn turn_of<'t, T: ConversationTurn>(turns: &'t mut Vec<T>, role: &'static str, blocks: usize) -> Option<&'t mut T> {
    // The first turn is the user's, whatever it says.
    let is_first = turns.len() == 1;
    turns.pop_if(|last| last.is_empty() && !(is_first && last.role() == USER));
    if turns.last().is_none_or(|last| last.role() != role) {
        turns.push(T::new(role, blocks));
    }
    turns.last_mut()
}

/// Ends the conversation: of its turns, the first and the last may still be empty. One in which nothing is said has no turns.
pub fn end(turns: &mut Vec<impl ConversationTurn>) {
    turns.pop_if(|last| last.is_empty() && last.role() != USER);
    if turns.iter().all(|turn| turn.is_empty()) {
        turns.clear();
    }
    if let Some(last) = turns.last_mut().filter(|last| last.role() == ASSISTANT) {
        last.trim_end();
    }
    for turn in turns.iter_mut().filter(|turn| turn.is_empty()) {
        turn.push_text(PLACEHOLDER_TEXT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_blank_if_it_is_white_space_alone() {
        for blank in ["", " ", "\n\t\r ", "\u{a0}\u{2028}", "\u{1c}\u{1f}"] {
            assert_eq!(unless_blank(blank), None, "{blank:?}");
        }
        for said in [".", " a ", "\u{200b}"] {
            assert_eq!(unless_blank(said), Some(said));
        }
    }
}
