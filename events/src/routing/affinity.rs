//! Session affinity: the requests of a session go first to the same one of the targets that the strategy ranks equally, whose cache
//! has what they have in common. By rendezvous hashing: a target that leaves takes no session of the others along.

use ring::digest::{Context, SHA256};

use super::{Order, Ranked, Strategy};
use crate::named;

named! {
    /// Whether requests of a session go first to the same target. The word is recorded with the model, and so can never change.
    #[derive(Default)]
    pub enum Affinity {
        #[default]
        None = "none",
        Session = "session",
    }
}

impl Affinity {
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Order<'_> {
    /// Moves the target of a session to the front: one of those that can serve and are ranked as the first of these. `session` is the
    /// digest of the session, `backend` the name of a target. The canary of the model stays where it is.
    pub fn put_session_target_first(&mut self, session: &str, backend: impl Fn(usize) -> Option<String>) {
        let strategy = self.strategy;
        let canary = self.canary.map(|(index, _)| index);
        let is_able = |ranked: &Ranked<'_>| ranked.candidate.left_out.is_none() && canary != Some(ranked.index);
        let able = || self.ranking.iter().enumerate().filter(|(_, ranked)| is_able(ranked));
        let Some((front, first)) = able().next() else { return };
        let level = level_of(strategy, first);
        let of_level = able().filter(|(_, ranked)| level_of(strategy, ranked) == level);
        let scored = of_level.filter_map(|(place, ranked)| Some((score(session, &backend(ranked.index)?), place)));
        let Some((_, winner)) = scored.max() else { return };
        self.ranking[front..=winner].rotate_right(1);
    }
}

/// The figures that targets of equal rank have in common. Drawn targets differ in their weights alone; one without a weight is a spare.
fn level_of(strategy: Strategy, ranked: &Ranked<'_>) -> (u64, u64) {
    let figures = ranked.figures;
    match strategy {
        Strategy::Weighted => (figures.second, u64::from(figures.first == 0)),
        _ => (figures.first, figures.second),
    }
}

/// The target with the highest score has the session.
fn score(session: &str, backend: &str) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in [session, "\0", backend] {
        context.update(part.as_bytes());
    }
    let mut score = [0; 32];
    score.copy_from_slice(context.finish().as_ref());
    score
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routing::left_out::BreakerOpen;
    use crate::routing::{Candidate, Features, LeftOut, choose};

    /// The target that a session goes to first, among these of the same priority.
    fn first_of(session: usize, priorities: &[u32], left_out: Option<usize>) -> usize {
        let candidates = priorities.iter().enumerate().map(|(at, priority)| Candidate {
            priority: *priority,
            left_out: (left_out == Some(at)).then_some(LeftOut::BreakerOpen(BreakerOpen)),
            ..Candidate::default()
        });
        let mut order = choose(Strategy::Priority, candidates, &Features::default());
        let before: Vec<usize> = order.tried().collect();
        order.put_session_target_first(&format!("session {session}"), |at| Some(format!("p/{at}")));
        let mut after: Vec<usize> = order.tried().collect();
        let first = after[0];
        after.sort_unstable();
        assert_eq!(after, before, "no target is lost");
        first
    }

    #[test]
    fn sessions_are_shared_out_among_equals_and_stay() {
        let mut sessions = BTreeMap::new();
        for session in 0..4000 {
            let first = first_of(session, &[0, 0, 0, 0, 1], None);
            assert_eq!(first_of(session, &[0, 0, 0, 0, 1], None), first);
            *sessions.entry(first).or_insert(0) += 1;
        }
        assert_eq!(sessions.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3], "the last one is no equal");
        assert!(sessions.values().all(|count| (850..1150).contains(count)), "{sessions:?}");
    }

    #[test]
    fn a_target_that_leaves_takes_no_session_of_the_others_along() {
        let mut moved_to = BTreeMap::new();
        for session in 0..1000 {
            let (before, after) = (first_of(session, &[0; 4], None), first_of(session, &[0; 4], Some(2)));
            if before == 2 {
                *moved_to.entry(after).or_insert(0) += 1;
            } else {
                assert_eq!(after, before);
            }
        }
        assert_eq!(moved_to.keys().copied().collect::<Vec<_>>(), [0, 1, 3]);
    }

    #[test]
    fn weights_do_not_make_targets_unequal_and_spares_stay_spares() {
        let mut firsts = BTreeMap::new();
        for session in 0..200 {
            let candidate = |weight| Candidate { weight, ..Candidate::default() };
            let mut order = choose(Strategy::Weighted, [9, 1, 0].map(candidate), &Features::default());
            order.put_session_target_first(&session.to_string(), |at| Some(at.to_string()));
            *firsts.entry(order.tried().next().unwrap()).or_insert(0) += 1;
        }
        assert_eq!(firsts.keys().copied().collect::<Vec<_>>(), [0, 1]);
    }
}
