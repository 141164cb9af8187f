//! Which of a provider's keys a request uses. Pure: the caller knows the keys and draws the number.

use std::time::Duration;

/// What is known of a key that a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in use, and has room.
    Open,
    /// The provider has said that little or nothing is left of the key's limits there.
    Short,
    /// It has reached one of its own limits: it has room again after this time.
    AtLimit(Duration),
    /// The provider did not accept it.
    SetAside {
        /// It is time to try it again.
        is_due: bool,
    },
}

/// A key and its share of the requests.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub weight: u32,
    pub standing: Standing,
    /// When the provider accepted it last, on the monotonic clock; `None` if this node does not know, or if it was refused
    /// since it is set aside.
    pub accepted: Option<Duration>,
}

/// The keys that a call may be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choosable {
    All,
    /// Not those that are set aside: one of them has been tried in vain for the same request.
    InUse,
    /// Those that are likely to have room at the provider: another key has just reached a limit there.
    Open,
}

/// The result of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The index of the key.
    Key(usize),
    /// Every key that could be used has reached a limit of its own: the first has room again after this time.
    AtLimit(Duration),
    None,
}

/// Chooses a key: one that is due to be tried again, else one that is open, else one that is short; and one that is set aside
/// only if there is no other, not even one that has reached its limit: then the one that was accepted last. Among equals the
/// weights decide, by a number that is drawn from all numbers.
pub fn choose(candidates: &[Candidate], choosable: Choosable, drawn: u64) -> Choice {
    let all = choosable == Choosable::All;
    let tiers: [&dyn Fn(Standing) -> bool; 3] = [
        &|standing| all && standing == Standing::SetAside { is_due: true },
        &|standing| standing == Standing::Open,
        &|standing| choosable != Choosable::Open && standing == Standing::Short,
    ];
    if let Some(at) = tiers.iter().find_map(|tier| by_weight(candidates, tier, drawn)) {
        return Choice::Key(at);
    }
    let waits = candidates.iter().filter_map(|candidate| match candidate.standing {
        Standing::AtLimit(wait) => Some(wait),
        Standing::Open | Standing::Short | Standing::SetAside { .. } => None,
    });
    if let Some(wait) = waits.min().filter(|_| choosable != Choosable::Open) {
        return Choice::AtLimit(wait);
    }
    let is_set_aside = |standing| all && matches!(standing, Standing::SetAside { .. });
    let indexed = candidates.iter().enumerate().filter(|(_, candidate)| is_set_aside(candidate.standing));
    let accepted = indexed.filter_map(|(at, candidate)| Some((candidate.accepted?, at))).max();
    let chosen = accepted.map(|(_, at)| at).or_else(|| by_weight(candidates, &is_set_aside, drawn));
    chosen.map_or(Choice::None, Choice::Key)
}

fn by_weight(candidates: &[Candidate], is_in: &dyn Fn(Standing) -> bool, drawn: u64) -> Option<usize> {
    let weighed = || {
        let indexed = candidates.iter().enumerate().filter(|(_, candidate)| is_in(candidate.standing));
        indexed.map(|(at, candidate)| (at, u64::from(candidate.weight)))
    };
    let total: u64 = weighed().map(|(_, weight)| weight).sum();
    let mut left = drawn.checked_rem(total)?;
    weighed().find_map(|(at, weight)| match left.checked_sub(weight) {
        None => Some(at),
        Some(rest) => {
            left = rest;
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use Standing::{AtLimit, Open, SetAside, Short};

    use super::*;

    const ASIDE: Standing = SetAside { is_due: false };
    const DUE: Standing = SetAside { is_due: true };
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn chosen(standings: &[Standing], choosable: Choosable) -> Choice {
        let candidates: Vec<_> =
            standings.iter().map(|standing| Candidate { weight: 1, standing: *standing, accepted: None }).collect();
        choose(&candidates, choosable, 0)
    }

    #[test]
    fn a_worse_key_is_chosen_only_if_there_is_no_better_one() {
        for (standings, wanted) in [
            (&[ASIDE, AtLimit(SECOND), Short, Open][..], Choice::Key(3)),
            (&[ASIDE, AtLimit(SECOND), Short], Choice::Key(2)),
            (&[ASIDE, AtLimit(MINUTE), AtLimit(SECOND)], Choice::AtLimit(SECOND)),
            (&[ASIDE], Choice::Key(0)),
            (&[Open, Short, DUE], Choice::Key(2)),
            (&[AtLimit(SECOND), DUE], Choice::Key(1)),
            (&[], Choice::None),
        ] {
            assert_eq!(chosen(standings, Choosable::All), wanted, "{standings:?}");
        }
    }

    #[test]
    fn a_request_tries_one_key_that_is_set_aside_and_after_a_limit_only_open_ones() {
        for (standings, in_use, open) in [
            (&[ASIDE, DUE][..], Choice::None, Choice::None),
            (&[DUE, Short], Choice::Key(1), Choice::None),
            (&[DUE, Short, Open], Choice::Key(2), Choice::Key(2)),
            (&[AtLimit(SECOND), DUE], Choice::AtLimit(SECOND), Choice::None),
        ] {
            assert_eq!(chosen(standings, Choosable::InUse), in_use, "{standings:?}");
            assert_eq!(chosen(standings, Choosable::Open), open, "{standings:?}");
        }
    }

    #[test]
    fn of_keys_that_are_set_aside_the_one_that_was_accepted_last_is_chosen() {
        let chosen = |candidates: &[(Standing, Option<Duration>)]| {
            let candidate = |(standing, accepted)| Candidate { weight: 1, standing, accepted };
            let candidates: Vec<_> = candidates.iter().copied().map(candidate).collect();
            let mut chosen: Vec<_> = (0..10).map(|drawn| choose(&candidates, Choosable::All, drawn)).collect();
            chosen.dedup();
            chosen
        };
        let (early, late) = (Some(SECOND), Some(MINUTE));
        assert_eq!(chosen(&[(ASIDE, None), (ASIDE, late), (ASIDE, early)]), [Choice::Key(1)]);
        assert_eq!(chosen(&[(ASIDE, late), (DUE, None)]), [Choice::Key(1)], "it is time to try it");
        assert_eq!(chosen(&[(ASIDE, late), (Open, None)]), [Choice::Key(1)], "it is in use");
        assert_eq!(chosen(&[(ASIDE, None), (ASIDE, None)]).len(), 10, "by weight");
    }

    #[test]
    fn each_key_gets_the_share_of_its_weight() {
        let candidates = [(3, Open), (0, Open), (1000, Short), (1, Open), (1000, ASIDE)];
        let candidates = candidates.map(|(weight, standing)| Candidate { weight, standing, accepted: None });
        let mut counts = [0; 5];
        for drawn in 0..4000_u64 {
            match choose(&candidates, Choosable::All, drawn) {
                Choice::Key(at) => counts[at] += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(counts, [3000, 0, 0, 1000, 0]);
        assert_eq!(choose(&candidates, Choosable::All, u64::MAX), Choice::Key(3), "the last number of the range");
    }
}
