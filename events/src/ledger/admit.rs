//! Admission: one hold on every budget that binds the request, or on none. If every budget that is short prefers a shorter
//! answer to none, the output cap is lowered to the least that is left in any of them.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::{Admission, AdmitDecision, Amounts, Balances, BudgetInForce, Emitted, Hold, IfShort, RefusedRequest};
use crate::event::admin::{Enforcement, WhenShort};
use crate::event::hold::{BudgetReserved, BudgetWindow};
use crate::event::inference::{BudgetShortfall, InferenceAdmitted};
use crate::event::{self, Inference, ScopeSubject, Stream};
use crate::money::{NanoUsd, NanoUsdSum};
use crate::output_cap::LoweredCap;
use crate::refusal::{ErrorCode, Refusal};

/// A budget that binds a request, with its window.
type Binding<'a> = (BudgetWindow, &'a BudgetInForce);

/// A request that can be admitted, with the hold and the cap that it gets.
struct Granted {
    held: NanoUsd,
    lowered_cap: Option<LoweredCap>,
    windows: Vec<BudgetWindow>,
    admitted: Box<InferenceAdmitted>,
}

/// The amounts of a budget that binds a request, and whether the request fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRoom {
    pub window: BudgetWindow,
    pub in_force: BudgetInForce,
    /// Before the request.
    pub amounts: Amounts,
    /// Negative if more is used than the limit.
    pub left: NanoUsdSum,
    /// `None` for the period `total`.
    pub resets_at: Option<DateTime<Utc>>,
    pub fits: bool,
}

/// A budget that has not enough left for a request.
struct Short {
    shortfall: Box<BudgetShortfall>,
    has_some_left: bool,
    /// The highest output cap that would fit, if any.
    affordable: Option<u64>,
}

impl Balances {
    /// Admits a request, or refuses it.
    pub fn admit(&mut self, admission: &Admission, now: DateTime<Utc>) -> AdmitDecision {
        // Repeats first: a repeat must not be refused because of its own first attempt.
        if self.open.contains_key(&admission.request_id) {
            return AdmitDecision::AlreadyAdmitted;
        }
        match self.try_grant(admission, now) {
            Ok(granted) => self.hold(admission, granted, now),
            // With nothing left, no tighter bound would fit either, and counting tokens would only delay other requests.
            Err(short) if admission.if_short == IfShort::AskAgain && short.has_some_left => AdmitDecision::Short,
            Err(short) => {
                let refusal = refusal_of(*short.shortfall, short.affordable);
                AdmitDecision::Refused(self.refuse(&RefusedRequest::of(admission, refusal), now))
            }
        }
    }

    /// The budgets that bind a request at `now`, in the order in which they are asked, and whether it fits.
    pub fn rooms(&self, request: &ScopeSubject<'_>, wanted: NanoUsd, now: DateTime<Utc>) -> Vec<BudgetRoom> {
        let room = |binding: Binding<'_>| BudgetRoom {
            window: binding.0,
            in_force: binding.1.clone(),
            amounts: self.amounts(&binding.0),
            left: self.left(&binding),
            resets_at: binding.1.budget.period.window(now).end,
            fits: self.has_room(&binding, wanted),
        };
        self.windows_of(request, now).into_iter().map(room).collect()
    }

    fn try_grant(&self, admission: &Admission, now: DateTime<Utc>) -> Result<Granted, Short> {
        let windows = self.windows_of(&admission.admitted.scope_subject(&admission.context), now);
        let (held, lowered_cap) = self.grant(&windows, admission).map_err(|binding| Short {
            shortfall: Box::new(self.shortfall(binding, admission.held, now)),
            has_some_left: self.left(binding) > NanoUsdSum::ZERO,
            affordable: self.affordable(&windows, admission),
        })?;
        let mut admitted = admission.admitted.clone();
        admitted.versions.budgets =
            windows.iter().map(|(window, in_force)| (window.budget_id, in_force.version)).collect();
        if let Some(cap) = lowered_cap {
            admitted.lower(cap);
        }
        let observed = windows.iter().filter(|(_, in_force)| in_force.budget.enforcement == Enforcement::Observe);
        admitted.would_have_refused = observed
            .filter(|binding| !self.has_room(binding, held))
            .map(|binding| self.shortfall(binding, held, now))
            .collect();
        let windows = windows.into_iter().map(|(window, _)| window).collect();
        Ok(Granted { held, lowered_cap, windows, admitted })
    }

    fn hold(&mut self, admission: &Admission, granted: Granted, now: DateTime<Utc>) -> AdmitDecision {
        let Granted { held, lowered_cap, windows, admitted } = granted;
        self.move_all(&windows, NanoUsdSum::ZERO, held.into());
        let expires_at = now + admission.ttl;
        let reserved = BudgetReserved { held_usd: held, budgets: windows.clone(), expires_at };
        let model = admitted.model.clone();
        let emit = |stream, event| Emitted { stream, context: admission.context.clone(), event };
        let events = vec![
            emit(Stream::inference(admission.request_id), Inference::Admitted(admitted).into()),
            emit(Stream::hold(admission.request_id), event::Hold::Reserved(Box::new(reserved)).into()),
        ];
        let context = admission.context.clone();
        self.open(admission.request_id, Hold { held, windows, admitted_at: now, expires_at, model, context });
        AdmitDecision::Admitted { held, lowered_cap, expires_at, events }
    }

    /// The amount to hold for a request, and the lowered cap if it gets one.
    ///
    /// Errors: the budget that is short. A budget that refuses is named before those that would shrink; of these, the one
    /// with the least left.
    fn grant<'a, 'b>(
        &self,
        windows: &'a [Binding<'b>],
        admission: &Admission,
    ) -> Result<(NanoUsd, Option<LoweredCap>), &'a Binding<'b>> {
        let is_short = |binding: &&Binding<'_>| {
            binding.1.budget.enforcement == Enforcement::Hard && !self.has_room(binding, admission.held)
        };
        let Some(first) = windows.iter().find(is_short) else { return Ok((admission.held, None)) };
        let mut short = windows.iter().filter(is_short);
        if let Some(refusing) = short.clone().find(|(_, in_force)| in_force.budget.when_short == WhenShort::Refuse) {
            return Err(refusing);
        }
        let tightest = short.clone().min_by_key(|binding| self.left(binding)).unwrap_or(first);
        let IfShort::Shrink(shrinking) = &admission.if_short else { return Err(tightest) };
        let left = short.try_fold(NanoUsd::MAX, |least, binding| Some(least.min(self.spendable(binding)?)));
        let lowered = left.and_then(|left| shrinking.lowered(admission.admitted.max_output_tokens, left));
        lowered.map(|(cap, held)| (held, Some(cap))).ok_or(tightest)
    }

    /// The highest output cap with which the request would be admitted now if it were sent again. `None` if no useful cap
    /// would fit.
    fn affordable(&self, windows: &[Binding<'_>], admission: &Admission) -> Option<u64> {
        let IfShort::Shrink(shrinking) = &admission.if_short else { return None };
        let mut hard = windows.iter().filter(|(_, in_force)| in_force.budget.enforcement == Enforcement::Hard);
        let left = hard.try_fold(NanoUsd::MAX, |least, binding| Some(least.min(self.spendable(binding)?)))?;
        shrinking.affordable(admission.admitted.max_output_tokens, left)
    }

    /// The rest of the budget's limit; negative if more is used than the limit.
    fn left(&self, (window, BudgetInForce { budget, .. }): &Binding<'_>) -> NanoUsdSum {
        NanoUsdSum::from(budget.limit_usd) - self.amounts(window).used()
    }

    /// The rest of the limit as an amount; `None` if so much more is used than the limit that it is none. A negative rest affords no
    /// cap, since no cost is negative.
    fn spendable(&self, binding: &Binding<'_>) -> Option<NanoUsd> {
        self.left(binding).to_amount()
    }

    fn has_room(&self, binding: &Binding<'_>, wanted: NanoUsd) -> bool {
        NanoUsdSum::from(wanted) <= self.left(binding)
    }

    fn shortfall(&self, (window, in_force): &Binding<'_>, requested: NanoUsd, now: DateTime<Utc>) -> BudgetShortfall {
        let BudgetInForce { budget, .. } = in_force;
        let amounts = self.amounts(window);
        BudgetShortfall {
            budget_id: window.budget_id,
            scope: budget.scope.clone(),
            limit_usd: budget.limit_usd,
            settled_usd: amounts.settled,
            held_usd: amounts.held,
            requested_usd: requested,
            resets_at: budget.period.window(now).end,
        }
    }
}

/// The refusal for a short budget. `affordable`, an output cap that would fit, is only in the details: the client's name
/// for its cap is not known here.
fn refusal_of(shortfall: BudgetShortfall, affordable: Option<u64>) -> Refusal {
    let message = shortfall.to_string();
    let remaining = shortfall.remaining();
    let details = match serde_json::to_value(shortfall) {
        Ok(Value::Object(details)) => details,
        Ok(_) | Err(_) => Map::new(),
    };
    let refusal = Refusal { details, ..Refusal::new(ErrorCode::BudgetExceeded, message) };
    let refusal = refusal.with("remaining_usd", remaining.to_string());
    match affordable {
        Some(cap) => refusal.with("affordable_max_output_tokens", cap),
        None => refusal,
    }
}
