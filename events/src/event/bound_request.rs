//! A request, as far as it decides which budgets and rate limits bind it.

use std::collections::BTreeMap;

use super::Chain;

static NO_METADATA: BTreeMap<String, String> = BTreeMap::new();

/// What the scopes of budgets and rate limits are about.
#[derive(Clone, Copy, Debug)]
pub struct BoundRequest<'a> {
    pub chain: Chain,
    /// The frontend name that the client asks for.
    pub model: &'a str,
    pub metadata: &'a BTreeMap<String, String>,
}

impl<'a> BoundRequest<'a> {
    /// A request without metadata.
    pub fn unmarked(chain: Chain, model: &'a str) -> Self {
        Self { chain, model, metadata: &NO_METADATA }
    }

    /// A request of which no more is known than its parties: no narrowed scope includes it.
    pub fn of_chain(chain: Chain) -> Self {
        Self::unmarked(chain, "")
    }
}
