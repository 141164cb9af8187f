//! The names of models, each a way of answering. The gateway that is measured serves them under the same names.

pub const WHOLE: &str = "whole";
/// All tokens of a stream at once.
pub const BURST: &str = "burst";
/// A token every so often.
pub const PACED: &str = "paced";
/// A token a second: a stream that costs nothing and lasts.
pub const DRIP: &str = "drip";
/// As many tokens of each class as the request says, quickly.
pub const TRACE: &str = "trace";
pub const ALL: [&str; 5] = [WHOLE, BURST, PACED, DRIP, TRACE];
