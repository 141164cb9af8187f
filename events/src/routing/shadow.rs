//! Shadows: another model that gets a copy of a share of a model's requests. The draw is made of ids alone, so that the log shows it.

use serde::{Deserialize, Serialize};

use super::share::hundredth;
use crate::ids::{ModelId, RequestId};

/// The model that copies are sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow {
    /// Its name, as the owner of the copied model sees it.
    pub model: String,
    /// From 1 to [`Self::SHARE_MAX`].
    pub share_percent: u32,
}

impl Shadow {
    pub const SHARE_MAX: u64 = 100;

    /// Whether a request for the model is in the share.
    pub fn draws(&self, model: ModelId, request: RequestId) -> bool {
        hundredth("shadow", model, &request.to_string()) < self.share_percent
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn shadow(share_percent: u32) -> Shadow {
        Shadow { model: "next".to_owned(), share_percent }
    }

    fn model(number: u128) -> ModelId {
        Uuid::from_u128(number).into()
    }

    /// Ids as they are made: a time, followed by random bits.
    fn request(number: u64) -> RequestId {
        let bits = u128::from(number.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_be_bytes();
        let random: [u8; 10] = bits[6..].try_into().expect("ten bytes");
        uuid::Builder::from_unix_timestamp_millis(1_790_000_000_000 + number / 100, &random).into_uuid().into()
    }

    /// Holds: admin.shadow
    #[test]
    fn its_share_is_what_is_copied_and_what_was_copied_still_is_when_it_grows() {
        let drawn = |share, of| -> Vec<bool> {
            (0..100_000).map(|number| shadow(share).draws(model(of), request(number))).collect()
        };
        let mut before = vec![false; 100_000];
        for share in [1, 5, 20, 50, 100] {
            let now = drawn(share, 1);
            let hits = now.iter().filter(|is_drawn| **is_drawn).count();
            // Four standard deviations are at most 632 requests; one percent of all is 1,000.
            assert!(hits.abs_diff(share as usize * 1000) < 650, "{hits} of 100,000 at {share} %");
            assert!(before.iter().zip(&now).all(|(before, now)| *now || !before), "{share} %");
            before = now;
        }
        assert_ne!(drawn(20, 1), drawn(20, 2), "another model");
    }

    /// The draw for an id must never change: it is made again from the log.
    #[test]
    fn an_id_is_drawn_as_it_always_was() {
        let drawn: Vec<u32> = (0..8).map(|number| hundredth("shadow", model(1), &format!("req_{number}"))).collect();
        assert_eq!(drawn, [23, 17, 90, 27, 42, 42, 70, 95]);
    }
}
