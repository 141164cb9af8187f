//! The check of life cycles: a request is admitted, gets its hold in the next event, may have failed attempts, and has one
//! outcome and one end of its hold. All its events name the same parties.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::event::hold::{BrokeredPart, BudgetAdjusted, BudgetExpired, BudgetReleased, BudgetReserved, BudgetSettled};
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted, InferenceEnded, InferenceRefused};
use events::event::{Actor, Context, Event, Hold, Inference, Recorded, ScopeSubject};
use events::ids::RequestId;
use events::ledger::UnknownUsage;
use events::money::NanoUsd;
use events::output_cap::LoweredCap;
use events::usage::UsageSource;

use super::Depth;
use super::references::References;

/// The actor that ends expired holds.
const SWEEPER: Actor = Actor::System("sweeper");
/// The reason of the sweeper's outcomes.
const NODE_LOST: &str = "node_lost";

/// A request that was admitted and has not ended.
pub(super) struct OpenRequest {
    stage: Stage,
    admitted_at: DateTime<Utc>,
    context: Context,
    pub(super) admitted: Box<InferenceAdmitted>,
    pub(super) held: NanoUsd,
    expires_at: DateTime<Utc>,
    /// The number of the last failed call.
    last_attempt: u32,
    /// The total cost of the failed calls.
    pub(super) failed_calls_cost: NanoUsd,
    /// `None` if no other amount is held above its tenant.
    brokered: Option<OpenPart>,
}

/// The part of an open hold for the budgets above its tenant.
#[derive(Clone, Copy, Debug)]
struct OpenPart {
    held: NanoUsd,
    /// The cost of calls at its tenant's own providers.
    own_calls_cost: NanoUsd,
}

impl OpenPart {
    /// The part of a cost that counts above the tenant. What nobody knows of other providers costs no more there than is held.
    fn of(self, ended: &InferenceEnded, is_own: bool) -> Option<NanoUsd> {
        let brokered = ended.cost_usd.checked_sub(self.own_calls_cost)?;
        let is_unknown = ended.usage.as_ref().is_some_and(|usage| usage.source == UsageSource::Unknown);
        Some(if is_unknown && !is_own { brokered.min(self.held) } else { brokered })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Admitted { at: u64 },
    Held,
    Ended(RecordedOutcome),
}

/// The parts of an outcome that the end of the hold must match.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordedOutcome {
    at: u64,
    recorded_at: DateTime<Utc>,
    cost: NanoUsd,
    /// The part of the cost that counts above the tenant, if that is another amount.
    brokered: Option<NanoUsd>,
    node_lost: bool,
}

impl Stage {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Admitted { .. } => "admitted and not held",
            Self::Held => "under way",
            Self::Ended(_) => "over",
        }
    }
}

impl OpenRequest {
    /// The subject of scopes, which decides which budgets bind the request.
    pub(super) fn scope_subject(&self) -> ScopeSubject<'_> {
        self.admitted.scope_subject(&self.context)
    }

    /// Counts the cost of a call, and says whether its backend is its tenant's own.
    fn count_own(&mut self, backend: &Backend, cost: NanoUsd, references: &References) -> Result<bool, String> {
        let Some(part) = &mut self.brokered else { return Ok(false) };
        let is_own = references.is_own(&self.admitted, &backend.key());
        if is_own {
            let sum = part.own_calls_cost.checked_add(cost);
            part.own_calls_cost = sum.ok_or("its calls cost more than money can count")?;
        }
        Ok(is_own)
    }

    /// Whether two of its targets might be called at the same time, so that one of them was cancelled.
    pub(super) const fn may_be_hedged(&self) -> bool {
        self.admitted.hedge_after_ms.is_some()
    }
}

/// The open requests, by id.
#[derive(Default)]
pub(super) struct OpenRequests {
    open: BTreeMap<RequestId, OpenRequest>,
    /// The request whose event must come next, and the message if it does not.
    unfinished: Option<(RequestId, &'static str)>,
}

impl OpenRequests {
    /// No event comes between an admission and its hold, or between an outcome and the end of the hold.
    pub(super) fn must_continue(&mut self, recorded: &Recorded) -> Result<(), String> {
        match self.unfinished.take() {
            Some((request, without)) if recorded.context.request_id != Some(request) => {
                Err(format!("{request} {without}"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn begin(&mut self, recorded: &Recorded, admitted: &InferenceAdmitted) -> Result<(), String> {
        let request = request(recorded)?;
        let is_none_lower = |requested| LoweredCap::new(requested, admitted.max_output_tokens).is_none();
        if admitted.requested_max_output_tokens.is_some_and(is_none_lower) {
            return Err("its output cap was lowered to no less than what it asked for".to_owned());
        }
        let open = OpenRequest {
            stage: Stage::Admitted { at: recorded.position },
            admitted_at: recorded.recorded_at,
            context: recorded.context.clone(),
            admitted: Box::new(admitted.clone()),
            held: NanoUsd::ZERO,
            expires_at: recorded.recorded_at,
            last_attempt: 0,
            failed_calls_cost: NanoUsd::ZERO,
            brokered: None,
        };
        self.unfinished = Some((request, "was admitted without a hold"));
        match self.open.insert(request, open) {
            None => Ok(()),
            Some(_) => Err(format!("{request} is admitted twice")),
        }
    }

    /// A hold follows its admission directly, in the same batch.
    pub(super) fn hold(&mut self, recorded: &Recorded, reserved: &BudgetReserved) -> Result<&OpenRequest, String> {
        let open = self.open_request(recorded)?;
        match open.stage {
            Stage::Admitted { at } if at + 1 == recorded.position && open.admitted_at == recorded.recorded_at => {}
            ref stage => return Err(format!("a hold that does not follow on its admission: it is {}", stage.as_str())),
        }
        if reserved.held_usd.is_negative() {
            return Err(format!("a hold of {} USD", reserved.held_usd));
        }
        if reserved.expires_at < recorded.recorded_at {
            return Err("a hold that has expired when it begins".to_owned());
        }
        if let Some(part) = &reserved.brokered {
            if part.held_usd.is_negative() || part.held_usd > reserved.held_usd || part.charged_usd.is_some() {
                return Err(format!("a hold of {} USD above its tenant", part.held_usd));
            }
            open.brokered = Some(OpenPart { held: part.held_usd, own_calls_cost: NanoUsd::ZERO });
        }
        (open.stage, open.held, open.expires_at) = (Stage::Held, reserved.held_usd, reserved.expires_at);
        Ok(open)
    }

    pub(super) fn attempt(
        &mut self,
        recorded: &Recorded,
        attempt: &AttemptFailed,
        references: &References,
    ) -> Result<&OpenRequest, String> {
        let open = self.open_request(recorded)?;
        if open.stage != Stage::Held {
            return Err(format!("a failed attempt of a request that is {}", open.stage.as_str()));
        }
        if attempt.attempt <= open.last_attempt {
            return Err(format!("attempt {} after attempt {}", attempt.attempt, open.last_attempt));
        }
        open.last_attempt = attempt.attempt;
        let cost = attempt.reported.cost_usd.unwrap_or(NanoUsd::ZERO);
        let sum = open.failed_calls_cost.checked_add(cost);
        open.failed_calls_cost = sum.ok_or("its failed calls cost more than money can count")?;
        open.count_own(&attempt.backend, cost, references)?;
        Ok(open)
    }

    pub(super) fn end(
        &mut self,
        recorded: &Recorded,
        ended: &InferenceEnded,
        references: &References,
        depth: Depth,
    ) -> Result<&OpenRequest, String> {
        self.unfinished = Some((request(recorded)?, "is over and its hold is open"));
        let open = self.open_request(recorded)?;
        if open.stage != Stage::Held {
            return Err(format!("an outcome of a request that is {}", open.stage.as_str()));
        }
        if depth == Depth::Gateway && (ended.model != open.admitted.model || ended.admitted_at != open.admitted_at) {
            return Err(format!("it was admitted for {} and at another time", open.admitted.model));
        }
        if ended.attempts.is_some_and(|calls| calls < open.last_attempt) {
            return Err(format!("it failed {} times and was tried less often", open.last_attempt));
        }
        let last_call = ended.cost_usd.checked_sub(open.failed_calls_cost).unwrap_or(NanoUsd::ZERO);
        let is_own = match &ended.backend {
            Some(backend) => open.count_own(backend, last_call, references)?,
            None => false,
        };
        let brokered = open.brokered.map(|part| part.of(ended, is_own).ok_or("it cost more than money can count"));
        open.stage = Stage::Ended(RecordedOutcome {
            at: recorded.position,
            recorded_at: recorded.recorded_at,
            cost: ended.cost_usd,
            brokered: brokered.transpose()?,
            node_lost: matches!(&recorded.event, Event::Inference(Inference::Aborted(_)))
                && ended.reason.as_deref() == Some(NODE_LOST)
                && recorded.context.actor == SWEEPER,
        });
        Ok(open)
    }

    pub(super) fn settle(&mut self, recorded: &Recorded, settled: &BudgetSettled) -> Result<(), String> {
        self.close(recorded, settled.charged_usd, settled.brokered.as_deref())?;
        if settled.charged_usd.is_negative() {
            return Err(format!("{} USD were charged", settled.charged_usd));
        }
        let above = settled.charged_usd.checked_sub(settled.held_usd).filter(|above| *above > NanoUsd::ZERO);
        if above == settled.overrun_usd {
            return Ok(());
        }
        let (charged, held) = (settled.charged_usd, settled.held_usd);
        Err(format!("{charged} USD charged of {held} USD held, with another overrun"))
    }

    pub(super) fn release(&mut self, recorded: &Recorded, released: &BudgetReleased) -> Result<(), String> {
        self.close(recorded, NanoUsd::ZERO, released.brokered.as_deref()).map(drop)
    }

    pub(super) fn expire(&mut self, recorded: &Recorded, expired: &BudgetExpired) -> Result<(), String> {
        let (open, outcome) = self.close(recorded, expired.charged_usd, expired.brokered.as_deref())?;
        if recorded.recorded_at < open.expires_at {
            return Err("it expired before its time".to_owned());
        }
        if !outcome.node_lost {
            return Err("it expired, and its outcome is not that its process was lost".to_owned());
        }
        let by_policy = match expired.policy.as_str() {
            policy if policy == UnknownUsage::ChargeHold.as_str() => Some(expired.held_usd),
            policy if policy == UnknownUsage::Release.as_str() => Some(NanoUsd::ZERO),
            _ => None,
        };
        if by_policy == Some(expired.charged_usd) {
            return Ok(());
        }
        let (charged, held) = (expired.charged_usd, expired.held_usd);
        Err(format!("{charged} USD charged of {held} USD held by the policy {}", expired.policy))
    }

    pub(super) fn refuse(&self, recorded: &Recorded, refused: &InferenceRefused) -> Result<(), String> {
        let request = request(recorded)?;
        if self.open.contains_key(&request) {
            return Err(format!("{request} is refused after it was admitted"));
        }
        if refused.count == 0 { Err("a refusal of no request".to_owned()) } else { Ok(()) }
    }

    /// At the end of the log, requests may be in progress, but not between two events that belong together.
    pub(super) fn finish(&self) -> Result<(), String> {
        match self.unfinished {
            Some((request, without)) => Err(format!("{request} {without}")),
            None => Ok(()),
        }
    }

    /// Ends a hold, which must follow its outcome directly, in the same batch.
    fn close(
        &mut self,
        recorded: &Recorded,
        charged: NanoUsd,
        part: Option<&BrokeredPart>,
    ) -> Result<(OpenRequest, RecordedOutcome), String> {
        let open = self.open_request(recorded)?;
        let outcome = match &open.stage {
            Stage::Ended(outcome)
                if outcome.at + 1 == recorded.position && outcome.recorded_at == recorded.recorded_at =>
            {
                outcome.clone()
            }
            stage => {
                let stage = stage.as_str();
                return Err(format!("the end of a hold that does not follow on its outcome: it is {stage}"));
            }
        };
        if outcome.cost != charged {
            return Err(format!("charged {charged} USD, but the outcome says {} USD", outcome.cost));
        }
        let held = open.brokered.map(|part| part.held);
        if part.map(|part| part.held_usd) != held {
            return Err("the end of a hold that has another part above its tenant".to_owned());
        }
        let brokered = part.map(|part| part.charged_usd.unwrap_or(NanoUsd::ZERO));
        if brokered != outcome.brokered {
            let usd = |amount: Option<NanoUsd>| amount.unwrap_or(NanoUsd::ZERO);
            let (says, follows) = (usd(brokered), usd(outcome.brokered));
            return Err(format!("charged {says} USD above its tenant, and the calls of others cost {follows} USD"));
        }
        let open = self.open.remove(&request(recorded)?).ok_or("a request that was never admitted")?;
        Ok((open, outcome))
    }

    /// The open request that the event belongs to.
    fn open_request(&mut self, recorded: &Recorded) -> Result<&mut OpenRequest, String> {
        let request = request(recorded)?;
        let open = self.open.get_mut(&request);
        let open = open.ok_or_else(|| format!("{request} was never admitted, or is over"))?;
        let context = &recorded.context;
        if context.chain() != open.context.chain() || (context.actor != open.context.actor && context.actor != SWEEPER)
        {
            return Err(format!("{request} was admitted for somebody else"));
        }
        Ok(open)
    }
}

/// An adjustment corrects the charge of a hold that expired, by figures that arrived later.
pub(super) fn must_correct(recorded: &Recorded, adjusted: &BudgetAdjusted, before: &[Recorded]) -> Result<(), String> {
    let request = must_be_of_its_request(recorded, adjusted)?;
    let mut charged = None;
    for before in before {
        match &before.event {
            Event::Hold(Hold::Expired(expired)) if expired.budgets == adjusted.budgets => {
                charged = Some(expired.charged_usd);
                must_be_of_part(expired.brokered.as_deref(), adjusted)?;
            }
            Event::Hold(Hold::Adjusted(earlier)) => {
                charged = charged.and_then(|charged: NanoUsd| charged.checked_add(earlier.delta_usd));
            }
            _ => {}
        }
    }
    let charged = charged.ok_or_else(|| format!("{request} has no expired hold on these budgets"))?;
    match charged.checked_add(adjusted.delta_usd) {
        Some(corrected) if !corrected.is_negative() => Ok(()),
        _ => Err(format!("a correction of {charged} USD by {} USD", adjusted.delta_usd)),
    }
}

/// A correction has a part above its tenant if the charge has one: in the same windows, and to nothing that is negative.
pub(super) fn must_be_of_part(part: Option<&BrokeredPart>, adjusted: &BudgetAdjusted) -> Result<(), String> {
    let (part, by) = match (part, &adjusted.brokered) {
        (None, None) => return Ok(()),
        (Some(part), Some(by)) if part.budgets == by.budgets => (part, by),
        _ => return Err("a correction of another part above its tenant".to_owned()),
    };
    let charged = part.charged_usd.unwrap_or(NanoUsd::ZERO);
    if adjusted.price.is_none() && charged.checked_add(by.delta_usd).is_none_or(NanoUsd::is_negative) {
        return Err(format!("a correction of {charged} USD above its tenant by {} USD", by.delta_usd));
    }
    Ok(())
}

/// A correction is on the stream of the hold that it corrects.
pub(super) fn must_be_of_its_request(recorded: &Recorded, adjusted: &BudgetAdjusted) -> Result<RequestId, String> {
    let request = request(recorded)?;
    if adjusted.of != request {
        return Err(format!("a correction of {} on the stream {}", adjusted.of, recorded.stream));
    }
    Ok(request)
}

fn request(recorded: &Recorded) -> Result<RequestId, String> {
    let request = recorded.context.request_id.ok_or("it names no request")?;
    // Compared as parsed ids, because an id may be written in several ways.
    if recorded.stream.id.parse() != Ok(request) {
        return Err(format!("{request} on the stream {}", recorded.stream));
    }
    Ok(request)
}
