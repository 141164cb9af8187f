//! Dialects that a surface and an upstream share, with a shortcut between the two in `dialects::passthrough`.

/// A dialect that the rows of surfaces and of upstreams can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedDialect {
    OpenAi,
    Anthropic,
}
