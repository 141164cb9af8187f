//! The shortcut between a surface and an upstream that speak one dialect: bytes pass unchanged, apart from a few edits.
//! The intermediate form could translate them too, but the shortcut keeps fields that the intermediate form does not know, and costs less.

pub mod anthropic;
pub mod openai;
mod rewrite;

use intermediate::shared_dialect::SharedDialect;
use provider_dialects::ProviderKind;
use surfaces::Surface;

/// The dialect that both speak; `None` if messages between them must be translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    provider_dialects::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
