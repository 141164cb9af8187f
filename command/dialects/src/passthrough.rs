//! The shortcut between a surface and an upstream that speak one dialect: bytes pass unchanged, apart from a few edits.
//! The intermediate form could translate them too, but the shortcut keeps fields that the intermediate form does not know, and costs less.

pub mod anthropic;
pub mod openai;
mod rewrite;

use bytes::Bytes;
use events::refused_parameters::RefusedParameters;
use intermediate::shared_dialect::SharedDialect;
use provider_dialects::ProviderKind;
use surfaces::Surface;

/// A client's body, edited for its target.
pub struct EditedBody {
    pub bytes: Bytes,
    /// The parameters that were taken out of it, or changed, because the target's model refuses them.
    pub refused: RefusedParameters,
}

impl EditedBody {
    /// A body from which nothing was taken.
    const fn whole(bytes: Bytes) -> Self {
        Self { bytes, refused: RefusedParameters::NONE }
    }
}

/// The dialect that both speak; `None` if messages between them must be translated.
pub fn shortcut(surface: Surface, kind: ProviderKind) -> Option<SharedDialect> {
    provider_dialects::of(kind).shared_dialect.filter(|shared| surface.spec().shared_dialect == Some(*shared))
}
