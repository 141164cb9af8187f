//! The admission, decided again by the ledger on what the budgets had before it.

use chrono::{DateTime, Utc};
use events::event::admin::RateLimit;
use events::event::hold::{BudgetReserved, BudgetWindow};
use events::event::inference::{BudgetShare, BudgetShortfall, InferenceAdmitted};
use events::event::{Chain, Change, Event, Hold, Inference, Recorded, Resource};
use events::ids::{BudgetId, LimitId};
use events::ledger::{
    Admission, AdmissionBounds, AdmitDecision, BrokeredBound, BudgetRoom, Emitted, IfShort, RefuseDecision,
};
use events::money::{CostLine, NanoUsd};
use events::refusal::ErrorCode;

use super::bound::{BoundCheck, Unlowered};
use super::evidence::{AdmissionEvidence, Evidence};
use super::spending::{DecidedAt, Moment, Spending};
use super::verdict::{About, Difference, Verdict};
use crate::{LogError, Reader};

/// How a request was decided, and what follows.
#[derive(Clone, Debug)]
pub struct AdmissionCheck {
    pub verdict: Verdict,
    pub decision: Decision,
    /// The decision was made after the events before this position.
    pub decided_before: u64,
    /// The amount that it needed of each budget: its bound, before budgets lowered its cap. `None` for a refusal that no budget caused.
    pub wanted: Option<NanoUsd>,
    /// The budget that the client was told about; `None` for other refusals, and for an admission.
    pub refused_by: Option<BudgetId>,
    pub budgets: Vec<BindingBudget>,
    pub limits: Vec<BindingLimit>,
    /// The tokens that it counted against rate limits, if they are recorded.
    pub rate_limited_tokens: Option<u64>,
}

/// The recorded decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Admitted,
    Refused(ErrorCode),
}

/// A budget that bound a request.
#[derive(Clone, Debug)]
pub struct BindingBudget {
    pub room: BudgetRoom,
    /// False if its events were too many to read: the amounts are not known then.
    pub is_known: bool,
    /// Whom it belongs to.
    pub owners: Chain,
}

/// A rate limit that was in force for a request.
#[derive(Clone, Debug)]
pub struct BindingLimit {
    pub limit: RateLimit,
    pub version: u64,
    pub owners: Chain,
}

impl AdmissionCheck {
    /// A decision that was made before this position, with the rate limits that were in force and nothing else yet.
    pub(super) fn new(decision: Decision, evidence: &Evidence, decided_before: u64) -> Self {
        let (verdict, limits) = (Verdict::default(), limits(evidence, decided_before));
        let (wanted, refused_by, budgets, rate_limited_tokens) = (None, None, Vec::new(), None);
        Self { verdict, decision, decided_before, wanted, refused_by, budgets, limits, rate_limited_tokens }
    }
}

/// Decides a recorded admission again.
pub(super) fn check(
    reader: &dyn Reader,
    of: AdmissionEvidence<'_>,
    bound: &BoundCheck,
) -> Result<AdmissionCheck, LogError> {
    let AdmissionEvidence { evidence, recorded, admitted } = of;
    let now = Moment { before: recorded.position, at: recorded.recorded_at };
    let of_decision = AdmissionCheck::new(Decision::Admitted, evidence, now.before);
    let rate_limited_tokens = admitted.rate_limited_tokens;
    let mut check = AdmissionCheck { wanted: bound.held, rate_limited_tokens, ..of_decision };
    // Without a hold there is nothing to compare: the rules of its life say so.
    let Some((hold, reserved)) = evidence.hold() else { return Ok(check) };
    if !evidence.is_whole {
        check.verdict.undecided.push(evidence.too_many_changes());
        return Ok(check);
    }
    let spending = Spending::read(reader, evidence, recorded, DecidedAt::Recording)?;
    let mut admission = Admission {
        request_id: evidence.request,
        context: recorded.context.clone(),
        planned_at: u64::MAX,
        held: reserved.held_usd,
        brokered: reserved.brokered.as_ref().map(|part| BrokeredBound {
            held: part.held_usd,
            line: CostLine::ZERO,
            is_guest: evidence.is_guest,
        }),
        ttl: (reserved.expires_at - recorded.recorded_at).to_std().unwrap_or_default(),
        if_short: IfShort::Refuse,
        bounds: AdmissionBounds::of_recorded(admitted.hold_shares.clone()),
        admitted: Box::new(as_planned(admitted)),
    };
    match (admitted.requested_max_output_tokens, bound.unlowered) {
        (Some(requested), Some(Unlowered { held, shrinking })) => {
            admission.held = held;
            if let (Some(brokered), Some(unlowered)) = (&mut admission.brokered, bound.brokered) {
                *brokered = BrokeredBound { is_guest: brokered.is_guest, ..unlowered };
            }
            admission.if_short = IfShort::Shrink(shrinking);
            admission.admitted.max_output_tokens = requested;
        }
        (Some(_), None) => check.verdict.undecided.push(NO_LINE.to_owned()),
        (None, _) => {}
    }
    check.wanted = Some(admission.held);
    check.budgets = budgets(&spending, evidence, now, &admission);
    if spending.has_unread() {
        check.verdict.undecided.push(evidence.too_much_spending());
        return Ok(check);
    }
    match spending.balances(now).admit(&admission, now.at) {
        AdmitDecision::Admitted { events, .. } => {
            compare(&mut check.verdict, recorded, admitted, hold, reserved, &events);
        }
        AdmitDecision::Refused(RefuseDecision::Now(decided) | RefuseDecision::NextSecond(decided)) => {
            let by = decided.refusal.details.get("budget_id").and_then(|id| id.as_str()).unwrap_or_default();
            check.verdict.differ(recorded.position, "decision", "admitted", format!("refused by {by}"));
        }
        // The balances have no hold of the request, and it does not ask again.
        AdmitDecision::AlreadyAdmitted | AdmitDecision::Short => {
            check.verdict.differ(recorded.position, "decision", "admitted", "not admitted");
        }
    }
    Ok(check)
}

const NO_LINE: &str = "budgets lowered its output cap, and the log does not have all that the lowered cap was computed from; \
     what is decided again is only whether the lowered hold fits";

/// The admission as the ledger got it: the ledger fills in the rest.
fn as_planned(admitted: &InferenceAdmitted) -> InferenceAdmitted {
    let mut planned = admitted.clone();
    planned.versions.budgets.clear();
    planned.would_have_refused.clear();
    planned.hold_shares.clear();
    planned.requested_max_output_tokens = None;
    planned
}

/// The budgets that bind the request, with what they had.
pub(super) fn budgets(
    spending: &Spending<'_>,
    evidence: &Evidence,
    moment: Moment,
    admission: &Admission,
) -> Vec<BindingBudget> {
    let wanted = |owner| admission.wanted_of(owner);
    let rooms = spending.balances(moment).rooms(&evidence.scope_subject(), wanted, moment.at);
    let binding = rooms.into_iter().map(|room| {
        let version = room.in_force.version;
        let change = evidence.budgets.iter().find(|change| change.position == version);
        let scope = &room.in_force.budget.scope;
        let owners = change.map_or_else(Chain::default, |change| scope.owners(&change.context));
        BindingBudget { is_known: !spending.is_unread(room.window.budget_id), room, owners }
    });
    binding.collect()
}

/// The rate limits in force for the request, before this position.
fn limits(evidence: &Evidence, before: u64) -> Vec<BindingLimit> {
    let mut in_force: Vec<(LimitId, BindingLimit)> = Vec::new();
    for recorded in evidence.limits.iter().take_while(|recorded| recorded.position < before) {
        let Event::Resource(Resource::RateLimit(change)) = &recorded.event else { continue };
        in_force.retain(|(id, _)| *id != change.id());
        if let Change::Created(limit) | Change::Changed(limit) = change {
            let owners = limit.scope.owners(&recorded.context);
            let limit = BindingLimit { limit: (**limit).clone(), version: recorded.position, owners };
            in_force.push((change.id(), limit));
        }
    }
    in_force.into_iter().map(|(_, limit)| limit).collect()
}

/// Compares what was recorded with the events of the decision.
fn compare(
    verdict: &mut Verdict,
    recorded: &Recorded,
    admitted: &InferenceAdmitted,
    hold: &Recorded,
    reserved: &BudgetReserved,
    events: &[Emitted],
) {
    for emitted in events {
        match &emitted.event {
            Event::Inference(Inference::Admitted(follows)) => {
                compare_admissions(verdict, recorded.position, admitted, follows)
            }
            Event::Hold(Hold::Reserved(follows)) => {
                verdict.compare(hold.position, "held_usd", reserved.held_usd, follows.held_usd);
                verdict.compare(hold.position, "budgets", windows(&reserved.budgets), windows(&follows.budgets));
                let held = |of: &BudgetReserved| {
                    let part = of.brokered.as_ref();
                    part.map_or_else(String::new, |part| format!("{} USD of {}", part.held_usd, windows(&part.budgets)))
                };
                verdict.compare(hold.position, "brokered", held(reserved), held(follows));
            }
            _ => {}
        }
    }
}

fn compare_admissions(verdict: &mut Verdict, position: u64, recorded: &InferenceAdmitted, follows: &InferenceAdmitted) {
    verdict.compare(position, "max_output_tokens", recorded.max_output_tokens, follows.max_output_tokens);
    let versions = |admitted: &InferenceAdmitted| {
        let named = admitted.versions.budgets.iter().map(|(id, version)| format!("{id} at {version}"));
        named.collect::<Vec<_>>().join(", ")
    };
    verdict.compare(position, "versions.budgets", versions(recorded), versions(follows));
    // Only if it is decided again to what its cap is lowered.
    if recorded.requested_max_output_tokens.is_none() || follows.requested_max_output_tokens.is_some() {
        verdict.compare(position, "hold_shares", shares(recorded), shares(follows));
    }
    let observing = |admitted: &InferenceAdmitted| {
        let ids = admitted.would_have_refused.iter().map(|shortfall| shortfall.budget_id.to_string());
        ids.collect::<Vec<_>>().join(", ")
    };
    let (ours, theirs) = (observing(recorded), observing(follows));
    if ours != theirs {
        verdict.differ(position, "would_have_refused", ours, theirs);
        return;
    }
    for (ours, theirs) in recorded.would_have_refused.iter().zip(&follows.would_have_refused) {
        compare_shortfalls(verdict, position, ours, theirs);
    }
}

/// The shares of budgets as text.
fn shares(admitted: &InferenceAdmitted) -> String {
    let shares = admitted.hold_shares.iter().map(|(id, share)| format!("{id}: {}", share_in_words(share)));
    shares.collect::<Vec<_>>().join(", ")
}

fn share_in_words(BudgetShare { of, fraction, held_usd }: &BudgetShare) -> String {
    format!("{fraction} for the {of}, which held {held_usd} USD")
}

/// Compares the figures of a budget that had too little left.
pub(super) fn compare_shortfalls(
    verdict: &mut Verdict,
    position: u64,
    recorded: &BudgetShortfall,
    follows: &BudgetShortfall,
) {
    if recorded == follows {
        return;
    }
    verdict.differences.push(Difference {
        position,
        what: format!("shortfall of {}", recorded.budget_id),
        recorded: Some(figures(recorded)),
        follows: Some(figures(follows)),
        about: About::Budget(recorded.budget_id),
    });
}

fn figures(of: &BudgetShortfall) -> String {
    let until = of.resets_at.map_or_else(|| "ever".to_owned(), |at: DateTime<Utc>| events::time::rfc3339(at));
    let share = of.share.as_ref().map_or_else(String::new, |share| format!("; {}", share_in_words(share)));
    format!(
        "{} USD settled, {} USD held and {} USD wanted of {} USD until {until}{share}",
        of.settled_usd, of.held_usd, of.requested_usd, of.limit_usd
    )
}

/// The windows as text, in the order of their budgets: the order of the events is not promised.
pub(super) fn windows(of: &[BudgetWindow]) -> String {
    let mut sorted: Vec<(BudgetId, &BudgetWindow)> = of.iter().map(|window| (window.budget_id, window)).collect();
    sorted.sort_unstable();
    sorted.into_iter().map(|(_, window)| window.to_string()).collect::<Vec<_>>().join(", ")
}
