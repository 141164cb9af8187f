//! Names of models, each with a behaviour. The measured gateway serves them under the same names.

pub const WHOLE: &str = "whole";
/// Streams all tokens at once.
pub const BURST: &str = "burst";
/// Streams tokens at a steady pace.
pub const PACED: &str = "paced";
/// Streams a token per second, for long streams that cost little.
pub const DRIP: &str = "drip";
/// Streams as many tokens of each class as the request asks for, quickly.
pub const TRACE: &str = "trace";
pub const ALL: [&str; 5] = [WHOLE, BURST, PACED, DRIP, TRACE];
