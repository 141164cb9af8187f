//! Dialects that are spoken on both sides, with a shortcut between the two in `passthrough`.

/// Rows of surfaces and of upstreams name it where they speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedDialect {
    OpenAi,
}
