//! The hedge of a request: its second call, which was made beside the first one.

use events::event::Recorded;
use events::event::admin::Model;
use events::event::inference::{AttemptFailed, HEDGED, Hedge, InferenceAdmitted};

use super::evidence::{AdmissionEvidence, Evidence};
use super::verdict::Verdict;

/// The number of the call that is a hedge: only the first call of a request has one.
pub(super) const ATTEMPT: u32 = 2;

/// Compares what the request has of hedges with its model and its admission, and returns what became of its hedge; `None` if it had
/// none, or has not ended.
pub(super) fn check(of: AdmissionEvidence<'_>, model: &Model, verdict: &mut Verdict) -> Option<Hedge> {
    let AdmissionEvidence { evidence: Evidence { life, .. }, recorded, admitted } = of;
    if let Some(after) = admitted.hedge_after_ms
        && model.hedge_after_ms != Some(after)
    {
        let of_model = model.hedge_after_ms.map_or_else(|| "nothing".to_owned(), |after| after.to_string());
        verdict.differ(recorded.position, "hedge_after_ms", after, of_model);
    }
    let (position, ended) = life.iter().find_map(|recorded| Some((recorded.position, recorded.event.outcome()?)))?;
    if let (Some(hedge), None) = (ended.hedge, admitted.hedge_after_ms) {
        verdict.differ(position, "hedge", hedge.as_str(), "nothing: its admission does not allow a second call");
    }
    if ended.hedge.is_some() && ended.attempts.is_some_and(|attempts| attempts < ATTEMPT) {
        verdict.differ(
            position,
            "attempts",
            ended.attempts.unwrap_or_default(),
            "two or more, of which one is the hedge",
        );
    }
    for (position, attempt) in failed(life) {
        must_be_hedged(position, attempt, ended.hedge, admitted, verdict);
    }
    ended.hedge
}

/// Checks that, of the two calls, the one that did not answer first was cancelled, and that the first call had been given its time.
fn must_be_hedged(
    position: u64,
    attempt: &AttemptFailed,
    hedge: Option<Hedge>,
    admitted: &InferenceAdmitted,
    verdict: &mut Verdict,
) {
    if attempt.reason != HEDGED {
        return;
    }
    let cancelled = match hedge {
        Some(Hedge::Answered) => Some(1),
        Some(Hedge::Lost) => Some(ATTEMPT),
        Some(Hedge::Failed | Hedge::Unfinished) | None => None,
    };
    if cancelled != Some(attempt.attempt) {
        let follows = cancelled.map_or_else(
            || "no call was cancelled for another one".to_owned(),
            |cancelled| format!("call {cancelled} was cancelled for the other one"),
        );
        verdict.differ(position, "attempt", attempt.attempt, follows);
    }
    if let Some(after) = admitted.hedge_after_ms.filter(|after| attempt.attempt == 1 && attempt.latency_ms < *after) {
        verdict.differ(
            position,
            "latency_ms",
            attempt.latency_ms,
            format!("{after} or more, after which the second call begins"),
        );
    }
}

fn failed(life: &[Recorded]) -> impl Iterator<Item = (u64, &AttemptFailed)> {
    life.iter().filter_map(|recorded| Some((recorded.position, recorded.event.failed_call()?)))
}
