//! What clients speak, one folder a surface.

pub mod native;
pub mod openai;
