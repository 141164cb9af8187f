//! Which of a provider's keys a request uses. Pure: the caller knows the keys and draws the number.

use std::time::Duration;

/// The state of a key that a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use, with room.
    Open,
    /// The provider has said that little or nothing is left of the key's limits there.
    Short,
    /// The provider did not accept it for the last requests, which may have been to blame.
    Doubted {
        /// True if it is time to try the key again, if another key is known to be accepted.
        is_due: bool,
    },
    /// At one of its own limits: it has room again after this time.
    AtLimit(Duration),
    /// The provider did not accept it.
    SetAside {
        /// True if it is time to try the key again.
        is_due: bool,
    },
    /// Set aside, and at one of its own limits: it has room again after this time.
    SetAsideAtLimit(Duration),
}

/// A key and its share of the requests.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    pub weight: u32,
    pub standing: Standing,
    /// When the provider accepted it last, on the monotonic clock; `None` if this node does not know, or if it is doubted or was
    /// refused since it is set aside.
    pub accepted: Option<Duration>,
}

/// The keys that a call may be made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choosable {
    All,
    /// All, but those that are known to be accepted come first, and those that are due to be tried again have no precedence:
    /// another key has failed for the same request.
    Other,
    /// The same without those that are set aside: one of them has failed.
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

/// Chooses a key. A request begins with one that is due to be tried again, if there is one; it goes on with the one that was
/// accepted last. Otherwise it takes one that is open, else short, else doubted; and one that is set aside only if there is no
/// other, not even one that has reached its limit: then the one that was accepted last. Among equals the weights decide, by a
/// random number.
pub fn choose(candidates: &[Candidate], choosable: Choosable, drawn: u64) -> Choice {
    let is_first = choosable == Choosable::All;
    let may_be_short = choosable != Choosable::Open;
    let is_open = |standing| standing == Standing::Open;
    let is_short = |standing| may_be_short && standing == Standing::Short;
    let proven = || accepted_last(candidates, &is_open).or_else(|| accepted_last(candidates, &is_short));
    let due = |wanted| by_weight(candidates, &|standing| is_first && standing == wanted, drawn);
    let chosen = due(Standing::SetAside { is_due: true })
        // Only where its failure costs no more than a call: another key is there to serve the request.
        .or_else(|| due(Standing::Doubted { is_due: true }).filter(|_| proven().is_some()))
        .or_else(|| proven().filter(|_| !is_first))
        .or_else(|| by_weight(candidates, &is_open, drawn))
        .or_else(|| by_weight(candidates, &is_short, drawn))
        .or_else(|| by_weight(candidates, &|standing| matches!(standing, Standing::Doubted { .. }), drawn));
    if let Some(at) = chosen {
        return Choice::Key(at);
    }
    if choosable == Choosable::Open {
        return Choice::None;
    }
    let wait = |of: fn(Standing) -> Option<Duration>| candidates.iter().filter_map(|one| of(one.standing)).min();
    if let Some(wait) = wait(Standing::in_use_at_limit) {
        return Choice::AtLimit(wait);
    }
    if choosable == Choosable::InUse {
        return Choice::None;
    }
    let is_set_aside = |standing| matches!(standing, Standing::SetAside { .. });
    let chosen = accepted_last(candidates, &is_set_aside).or_else(|| by_weight(candidates, &is_set_aside, drawn));
    let limited = || wait(Standing::set_aside_at_limit).map_or(Choice::None, Choice::AtLimit);
    chosen.map_or_else(limited, Choice::Key)
}

impl Standing {
    const fn in_use_at_limit(self) -> Option<Duration> {
        match self {
            Self::AtLimit(wait) => Some(wait),
            Self::Open | Self::Short | Self::Doubted { .. } | Self::SetAside { .. } | Self::SetAsideAtLimit(_) => None,
        }
    }

    const fn set_aside_at_limit(self) -> Option<Duration> {
        match self {
            Self::SetAsideAtLimit(wait) => Some(wait),
            Self::Open | Self::Short | Self::Doubted { .. } | Self::SetAside { .. } | Self::AtLimit(_) => None,
        }
    }
}

/// Returns the key accepted last of those with this standing.
fn accepted_last(candidates: &[Candidate], is_in: &dyn Fn(Standing) -> bool) -> Option<usize> {
    let indexed = candidates.iter().enumerate().filter(|(_, candidate)| is_in(candidate.standing));
    indexed.filter_map(|(at, candidate)| Some((candidate.accepted?, at))).max().map(|(_, at)| at)
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
    use Standing::{AtLimit, Doubted, Open, SetAside, SetAsideAtLimit, Short};

    use super::*;

    const ASIDE: Standing = SetAside { is_due: false };
    const DUE: Standing = SetAside { is_due: true };
    const DOUBTED: Standing = Doubted { is_due: false };
    const DOUBTED_DUE: Standing = Doubted { is_due: true };
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
            (&[ASIDE, AtLimit(SECOND), DOUBTED], Choice::Key(2)),
            (&[DOUBTED, Short], Choice::Key(1)),
            (&[DOUBTED_DUE, Open], Choice::Key(1)),
            (&[SetAsideAtLimit(SECOND), ASIDE], Choice::Key(1)),
            (&[SetAsideAtLimit(SECOND), AtLimit(MINUTE)], Choice::AtLimit(MINUTE)),
            (&[SetAsideAtLimit(MINUTE), SetAsideAtLimit(SECOND)], Choice::AtLimit(SECOND)),
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
            (&[SetAsideAtLimit(SECOND)], Choice::None, Choice::None),
            (&[DOUBTED, DUE], Choice::Key(0), Choice::Key(0)),
            (&[Short, DOUBTED], Choice::Key(0), Choice::Key(1)),
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
    fn a_doubted_key_is_tried_if_another_is_accepted_and_a_request_goes_on_with_the_one_accepted_last() {
        let chosen = |candidates: &[(Standing, Option<Duration>)], choosable| {
            let candidate = |(standing, accepted)| Candidate { weight: 1, standing, accepted };
            let candidates: Vec<_> = candidates.iter().copied().map(candidate).collect();
            let mut chosen: Vec<_> = (0..10).map(|drawn| choose(&candidates, choosable, drawn)).collect();
            chosen.dedup();
            chosen
        };
        let (early, late) = (Some(SECOND), Some(MINUTE));
        let due_and_accepted = [(Open, None), (DOUBTED_DUE, None), (Open, early), (Open, late)];
        assert_eq!(chosen(&due_and_accepted, Choosable::All), [Choice::Key(1)]);
        assert_eq!(chosen(&due_and_accepted, Choosable::Other), [Choice::Key(3)]);
        assert_eq!(chosen(&[(DOUBTED, None), (Short, late)], Choosable::All), [Choice::Key(1)], "it is not due");
        assert_eq!(chosen(&[(Open, None), (Short, late)], Choosable::Other), [Choice::Key(1)], "short and accepted");
        assert_eq!(chosen(&[(Open, None), (Short, late)], Choosable::Open), [Choice::Key(0)]);
        assert_eq!(chosen(&[(DUE, late), (DOUBTED_DUE, None), (Open, late)], Choosable::Other), [Choice::Key(2)]);
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
