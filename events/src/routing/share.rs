//! Which requests are in a share of a model's requests: drawn from ids alone, so that the log shows it.

use ring::digest::{Context, SHA256};

use crate::ids::ModelId;

/// A number from 0 to 99 for this id, drawn anew for each model and for each purpose.
pub(super) fn hundredth(purpose: &str, model: ModelId, id: &str) -> u32 {
    let mut context = Context::new(&SHA256);
    for part in [purpose, "\0", &model.to_string(), "\0", id] {
        context.update(part.as_bytes());
    }
    let digest = context.finish();
    let high = digest.as_ref().iter().take(4).fold(0, |bits: u64, byte| (bits << 8) | u64::from(*byte));
    u32::try_from((high * 100) >> 32).unwrap_or_default()
}
