//! A refusal, decided again if a budget caused it.
//!
//! A refusal may be recorded some seconds after it was decided, and its figures are those of the decision. So it follows if the
//! ledger says the same at the position at which it is recorded, or after one of the events shortly before.

use events::event::Recorded;
use events::event::inference::{BudgetShortfall, InferenceAdmitted, InferenceRefused};
use events::ledger::{Admission, AdmissionBounds, AdmitDecision, BrokeredBound, IfShort, RefuseDecision};
use events::money::CostLine;
use events::refusal::ErrorCode;
use serde_json::Value;

use super::admission::{AdmissionCheck, Decision, budgets, compare_shortfalls};
use super::evidence::Evidence;
use super::spending::{DecidedAt, Moment, Spending};
use crate::{LogError, Reader};

const NOT_OF_A_BUDGET: &str = "no budget refused it: of other refusals the log has the code, the model and the details of the error, but not the request";
const MAYBE_EARLIER: &str = "it may have been decided earlier: before too many movements of its budgets to look at each, or in the window before";
const UNREADABLE: &str = "the refusal does not have the figures of its budget";

pub(super) fn check(
    reader: &dyn Reader,
    evidence: &Evidence,
    recorded: &Recorded,
    refused: &InferenceRefused,
) -> Result<AdmissionCheck, LogError> {
    let now = Moment { before: recorded.position, at: recorded.recorded_at };
    let mut check = AdmissionCheck::new(Decision::Refused(refused.code), evidence, now.before);
    if refused.code != ErrorCode::BudgetExceeded {
        check.verdict.undecided.push(NOT_OF_A_BUDGET.to_owned());
        return Ok(check);
    }
    if !evidence.is_whole {
        check.verdict.undecided.push(evidence.too_many_changes());
        return Ok(check);
    }
    let Ok(shortfall) = serde_json::from_value::<BudgetShortfall>(Value::Object(refused.details.clone())) else {
        check.verdict.undecided.push(UNREADABLE.to_owned());
        return Ok(check);
    };
    let wanted = shortfall.requested_usd;
    (check.wanted, check.refused_by) = (Some(wanted), Some(shortfall.budget_id));
    let spending = Spending::read(reader, evidence, recorded, DecidedAt::OrBefore)?;
    let admission = asked(evidence, recorded, refused, &shortfall);
    if spending.has_unread() {
        check.budgets = budgets(&spending, evidence, now, &admission);
        check.verdict.undecided.push(evidence.too_much_spending());
        return Ok(check);
    }
    let decide = |moment: Moment| decided(&spending, &admission, moment);
    let mut found = None;
    for moment in spending.moments(recorded) {
        reader.check_interrupt()?;
        if decide(moment).as_ref() == Some(&shortfall) {
            found = Some(moment);
            break;
        }
    }
    check.decided_before = found.unwrap_or(now).before;
    check.budgets = budgets(&spending, evidence, found.unwrap_or(now), &admission);
    if found.is_none() && spending.may_have_been_earlier(recorded) {
        check.verdict.undecided.push(MAYBE_EARLIER.to_owned());
        return Ok(check);
    }
    let found = found.unwrap_or(now);
    match decide(found) {
        Some(follows) if follows.budget_id == shortfall.budget_id => {
            compare_shortfalls(&mut check.verdict, recorded.position, &shortfall, &follows);
        }
        follows => {
            let refused_by = |shortfall: &BudgetShortfall| format!("refused by {}", shortfall.budget_id);
            let follows = follows.as_ref().map_or_else(|| "admitted".to_owned(), refused_by);
            check.verdict.differ(recorded.position, "decision", refused_by(&shortfall), follows);
        }
    }
    Ok(check)
}

/// The refused request as it asked the ledger, by the share of the recorded shortfall. If a budget above its tenant refused it, the
/// others are asked for as little as that one.
fn asked(
    evidence: &Evidence,
    recorded: &Recorded,
    refused: &InferenceRefused,
    shortfall: &BudgetShortfall,
) -> Admission {
    let share = shortfall.share.map(|share| (shortfall.budget_id, share));
    let brokered = |held| BrokeredBound { held, line: CostLine::ZERO, is_guest: evidence.is_guest };
    Admission {
        request_id: evidence.request,
        context: recorded.context.clone(),
        planned_at: u64::MAX,
        held: shortfall.requested_usd,
        brokered: shortfall.brokered_usd.map(brokered),
        ttl: std::time::Duration::ZERO,
        if_short: IfShort::Refuse,
        bounds: AdmissionBounds::of_recorded(share.into_iter().collect()),
        admitted: Box::new(InferenceAdmitted::of_refused(refused)),
    }
}

/// The shortfall for which the ledger refuses at this moment; `None` if it admits.
fn decided(spending: &Spending<'_>, admission: &Admission, moment: Moment) -> Option<BudgetShortfall> {
    match spending.balances(moment).admit(admission, moment.at) {
        AdmitDecision::Refused(RefuseDecision::Now(decided) | RefuseDecision::NextSecond(decided)) => {
            serde_json::from_value(Value::Object(decided.refusal.details)).ok()
        }
        AdmitDecision::Admitted { .. } | AdmitDecision::AlreadyAdmitted | AdmitDecision::Short => None,
    }
}
