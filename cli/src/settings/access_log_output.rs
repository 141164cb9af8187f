//! Where entries of the access log go.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLogOutput {
    Off,
    /// Lines on stderr.
    Lines,
    /// A view, for queries.
    View,
    Both,
}

impl AccessLogOutput {
    pub const NAMED: [(&str, Self); 4] =
        [("off", Self::Off), ("lines", Self::Lines), ("view", Self::View), ("both", Self::Both)];

    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::NAMED.iter().map(|(word, _)| *word)
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::NAMED.iter().find_map(|(named, output)| (*named == word).then_some(*output))
    }

    pub const fn has_lines(self) -> bool {
        matches!(self, Self::Lines | Self::Both)
    }

    pub const fn has_view(self) -> bool {
        matches!(self, Self::View | Self::Both)
    }
}
