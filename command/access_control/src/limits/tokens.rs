//! The tokens of a request, as its limits count them. A limit above the tenant counts only those of providers that are not the tenant's
//! own, since what a tenant's own provider reports is the tenant's to say.

/// The tokens of a request, reserved or used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenAmounts {
    pub all: u64,
    /// Those of providers that are not its tenant's own.
    pub brokered: u64,
    /// Whether its user is one of another tenant. What is used needs not say it.
    pub is_guest: bool,
}

impl TokenAmounts {
    pub const NONE: Self = Self::of(0);

    /// The tokens of a request that no provider of its tenant's own serves.
    pub const fn of(tokens: u64) -> Self {
        Self { all: tokens, brokered: tokens, is_guest: false }
    }

    /// The tokens used, for a request that was reserved as this one.
    pub(super) const fn used(self, used: Self) -> Self {
        Self { is_guest: self.is_guest, ..used }
    }
}
