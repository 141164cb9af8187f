//! Canaries: one target of a model gets a share of its requests, or of its tenants, and the others only if nothing else can serve them. The
//! draw is made of ids alone, so that the log shows it, and who is in a share stays in it when the share grows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::share::hundredth;
use super::{Order, Target};
use crate::ids::{ModelId, ProviderId, RequestId, TenantId, target_key};
use crate::named;

named! {
    /// The unit of a draw. The word is recorded with the model, and so can never change.
    pub enum CanaryBy {
        Request = "request",
        Tenant = "tenant",
    }
}

/// A target that is tried out with a share of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    pub provider_id: ProviderId,
    pub model: String,
    /// From 1 to [`Self::SHARE_MAX`].
    pub share_percent: u32,
    pub by: CanaryBy,
}

impl Canary {
    pub const SHARE_MAX: u64 = 50;

    /// See [`target_key`].
    pub fn key(&self) -> String {
        target_key(self.provider_id, &self.model)
    }

    /// Whether it is this target.
    pub fn is(&self, target: &Target) -> bool {
        target.provider_id == self.provider_id && target.model == self.model
    }

    /// Whether a request is in the share. One without a tenant is in no share of tenants.
    pub fn draws(&self, model: ModelId, request: RequestId, tenant: Option<TenantId>) -> bool {
        let drawn = match self.by {
            CanaryBy::Request => Some(hundredth("canary", model, &request.to_string())),
            CanaryBy::Tenant => tenant.map(|tenant| hundredth("canary", model, &tenant.to_string())),
        };
        drawn.is_some_and(|drawn| drawn < self.share_percent)
    }
}

/// Where the canary stands in the order of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryPlace {
    /// The request is in its share.
    First,
    /// The canary serves the request only if no other target can.
    Last,
}

impl fmt::Display for CanaryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "canary, in whose share the request is",
            Self::Last => "canary, after all others",
        })
    }
}

impl Order<'_> {
    /// Moves the candidate with this index, the canary, in front of all others or behind them. The target of a session is then one of the others.
    pub fn place_canary(&mut self, index: usize, place: CanaryPlace) {
        let Some(at) = self.ranking.iter().position(|ranked| ranked.index == index) else { return };
        match place {
            CanaryPlace::First => self.ranking[..=at].rotate_right(1),
            CanaryPlace::Last => self.ranking[at..].rotate_left(1),
        }
        self.canary = Some((index, place));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::routing::left_out::BreakerOpen;
    use crate::routing::{Candidate, Features, LeftOut, Strategy, choose};

    fn canary(share_percent: u32, by: CanaryBy) -> Canary {
        Canary { provider_id: Uuid::from_u128(1).into(), model: "b".to_owned(), share_percent, by }
    }

    fn model(number: u128) -> ModelId {
        Uuid::from_u128(number).into()
    }

    /// Ids as they are made: a time, followed by random bits.
    fn uuid(number: u64) -> Uuid {
        let bits = u128::from(number.wrapping_mul(0x2545_f491_4f6c_dd1d)).to_be_bytes();
        let random: [u8; 10] = bits[6..].try_into().expect("ten bytes");
        uuid::Builder::from_unix_timestamp_millis(1_790_000_000_000 + number / 100, &random).into_uuid()
    }

    /// Holds: admin.canary
    #[test]
    fn its_share_is_what_it_gets_of_requests() {
        for share in [1, 5, 20, 50] {
            let canary = canary(share, CanaryBy::Request);
            let hits = (0..100_000).filter(|number| canary.draws(model(1), uuid(*number).into(), None)).count();
            // Four standard deviations are at most 632 requests; one percent of all is 1,000.
            assert!(hits.abs_diff(share as usize * 1000) < 650, "{hits} of 100,000 at {share} %");
        }
    }

    /// Holds: admin.canary
    #[test]
    fn tenants_stay_in_a_share_that_grows_and_each_model_draws_others() {
        let tenants: Vec<TenantId> = (0..2000).map(|number| uuid(number).into()).collect();
        let drawn = |share, of: u128, request: u64| -> Vec<bool> {
            let canary = canary(share, CanaryBy::Tenant);
            tenants.iter().map(|tenant| canary.draws(model(of), uuid(request).into(), Some(*tenant))).collect()
        };
        let five = drawn(5, 1, 7);
        assert_eq!(five, drawn(5, 1, 8), "whatever the request");
        assert!((60..140).contains(&five.iter().filter(|is_drawn| **is_drawn).count()));
        let twenty = drawn(20, 1, 9);
        assert!(five.iter().zip(&twenty).all(|(before, after)| *after || !before), "nobody leaves");
        assert_ne!(five, drawn(5, 2, 7), "another model");
        assert!(!canary(50, CanaryBy::Tenant).draws(model(1), uuid(1).into(), None), "no tenant");
    }

    /// The draw for an id must never change: orders are reconstructed from the log.
    #[test]
    fn an_id_is_drawn_as_it_always_was() {
        let drawn: Vec<u32> = (0..8).map(|number| hundredth("canary", model(1), &format!("req_{number}"))).collect();
        assert_eq!(drawn, [90, 5, 52, 8, 77, 17, 66, 26]);
    }

    /// The order with the canary at this index, if the first target has this session and one may be left out.
    fn order(place: CanaryPlace, strategy: Strategy, left_out: Option<usize>, session: Option<&str>) -> Vec<usize> {
        let candidates = (0..4).map(|at| Candidate {
            weight: 1,
            left_out: (left_out == Some(at)).then_some(LeftOut::BreakerOpen(BreakerOpen)),
            ..Candidate::default()
        });
        let mut order =
            choose(strategy, candidates, &Features { request: Some(uuid(3).into()), ..Features::default() });
        order.place_canary(1, place);
        if let Some(session) = session {
            order.put_session_target_first(session, |at| Some(format!("p/{at}")));
        }
        order.tried().collect()
    }

    /// Holds: admin.canary
    #[test]
    fn it_is_first_or_last_whatever_the_strategy_and_the_session() {
        for strategy in Strategy::ALL {
            for session in [None, Some("a"), Some("b"), Some("c"), Some("d"), Some("e")] {
                let (first, last) =
                    [CanaryPlace::First, CanaryPlace::Last].map(|place| order(place, *strategy, None, session)).into();
                assert_eq!((first[0], last[3]), (1, 1), "{strategy} {session:?}");
                assert_eq!(first[1..], last[..3], "the others keep their order: {strategy} {session:?}");
                let without = order(CanaryPlace::First, *strategy, Some(1), session);
                assert!(without.len() == 3 && !without.contains(&1), "one that is left out is left out");
            }
        }
        let homes: std::collections::BTreeSet<usize> = (0..40)
            .map(|number| order(CanaryPlace::Last, Strategy::Priority, None, Some(&number.to_string()))[0])
            .collect();
        assert_eq!(homes, [0, 2, 3].into(), "sessions are shared out among the others");
    }
}
