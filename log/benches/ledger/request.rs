//! The request that benchmarks send. `skip_hunt` compiles this file as well.

use std::time::Duration;

use events::event::inference::{InferenceAdmitted, Versions};
use events::event::{Actor, Chain, Context};
use events::ids::RequestId;
use events::ledger::{Admission, AdmissionBounds, IfShort};
use events::money::NanoUsd;

const HELD: NanoUsd = NanoUsd::new(640_000);
/// The cost of every request.
pub const COST: NanoUsd = NanoUsd::new(180_000);
const TTL: Duration = Duration::from_secs(900);

/// The admission of a request that these owners pay for.
pub fn admission(request_id: RequestId, chain: Chain) -> Admission {
    Admission {
        request_id,
        context: Context::about(Actor::Operator, chain).in_request(request_id),
        planned_at: u64::MAX,
        held: HELD,
        ttl: TTL,
        if_short: IfShort::AskAgain,
        bounds: AdmissionBounds::NONE,
        admitted: Box::new(InferenceAdmitted {
            model: "sim-small".into(),
            dialect: "openai".into(),
            streamed: false,
            max_output_tokens: 4096,
            requested_max_output_tokens: None,
            output_tokens_beyond_cap: None,
            input_tokens_bound: 1200,
            body_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            prompt_digest: None,
            content_policy: events::content::ContentPolicy::default(),
            metadata: Default::default(),
            versions: Versions::default(),
            would_have_refused: Vec::new(),
            rate_limited_tokens: None,
            hedge_after_ms: None,
            route: None,
            shadow_of: None,
            hold_shares: Default::default(),
        }),
        brokered: None,
    }
}
