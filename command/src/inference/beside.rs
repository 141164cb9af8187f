//! Beside the line of a request: the copies for the shadows of models, and the counting of tokens.

pub mod count_tokens;
pub mod shadow;
