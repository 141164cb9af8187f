//! The shortcut between a surface and an upstream of one dialect: bytes go on as they came, but for what has to be edited
//! in them. Everything else goes through the hub, and so could these: the shortcut is there because it keeps fields that
//! the hub does not know, and costs less.

pub mod openai;
mod renaming;

use super::Surface;
use super::upstreams::{self, ProviderKind};

/// A dialect that has the shortcut. Rows of surfaces and upstreams name it where they speak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passthrough {
    OpenAi,
}

impl Passthrough {
    /// `None`: what is between these two is translated.
    pub fn between(surface: Surface, kind: ProviderKind) -> Option<Self> {
        upstreams::of(kind).passthrough.filter(|shared| surface.spec().passthrough == Some(*shared))
    }
}
