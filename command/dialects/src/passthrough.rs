//! The shortcut between a surface and an upstream that speak one dialect: bytes pass unchanged, apart from a few edits.
//! The hub could translate them too, but the shortcut keeps fields that the hub does not know, and costs less.

pub mod anthropic;
pub mod openai;
mod rewrite;

use hub::shared_dialect::SharedDialect;
use surfaces::Surface;
use upstreams::ProviderKind;

/// The dialect that both speak; `None` if messages between them must be translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    upstreams::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
