//! Receipts that tests end streams with.

use std::sync::LazyLock;

use bytes::Bytes;
use events::money::NanoUsd;
use events::usage::{TokenClasses, Usage, UsageSource};
use intermediate::{FinishReason, Receipt};

pub const REQUEST_ID: &str = "req_0199a1b2c3d4700080000000000000ff";

static USAGE: LazyLock<Usage> = LazyLock::new(|| Usage::new(TokenClasses::default(), UsageSource::Counted));
static NO_ECHO: Bytes = Bytes::new();

/// The receipt of a response that ended for this reason.
pub fn receipt(finish_reason: FinishReason) -> Receipt<'static> {
    Receipt {
        request_id: REQUEST_ID,
        frontend_model: "house/model",
        provider: "prov",
        backend_model: "backend-1",
        usage: &USAGE,
        cost_usd: NanoUsd::new(21_000),
        price_version: 3,
        admitted_position: 41,
        settled_position: 44,
        held_usd: NanoUsd::new(640_000),
        finish_reason,
        echo: &NO_ECHO,
    }
}
