//! The shortcut between a surface and an upstream of one dialect: bytes go on as they came, but for what has to be edited
//! in them. Everything else goes through the hub, and so could these: the shortcut is there because it keeps fields that
//! the hub does not know, and costs less.

pub mod openai;
mod renaming;

use super::Surface;
use super::shared_dialect::SharedDialect;
use super::upstreams::{self, ProviderKind};

/// The dialect that both speak. `None`: what is between these two is translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    upstreams::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
