//! The rules for names of models.

use crate::format_characters::is_format;

/// The longest name of a model, in characters.
pub const MODEL_NAME_CHARS_MAX: usize = 200;

/// True if clients and operators can write it: it is not empty, and has no white space, control or format characters.
pub fn is_model_name(name: &str) -> bool {
    let is_written = |character: char| !character.is_whitespace() && !character.is_control() && !is_format(character);
    (1..=MODEL_NAME_CHARS_MAX).contains(&name.chars().count()) && name.chars().all(is_written)
}
