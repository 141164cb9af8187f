//! Names of models, each with a behaviour.

pub const WHOLE: &str = "whole";
/// Streams all tokens at once.
pub const BURST: &str = "burst";
/// Streams tokens at a steady pace.
pub const PACED: &str = "paced";
/// Streams a token per second, for long streams that cost little.
pub const DRIP: &str = "drip";
/// Streams as many tokens of each class as the request asks for, quickly.
pub const TRACE: &str = "trace";
/// Never answers.
pub const HANG: &str = "hang";
/// Streams comments without an end.
pub const COMMENTS: &str = "comments";
/// The models that a measured gateway serves, under the same names.
pub const ALL: [&str; 5] = [WHOLE, BURST, PACED, DRIP, TRACE];
