//! Admission: one hold on every budget that binds the request, or on none. If every budget that is short prefers a shorter
//! answer to none, the output cap is lowered to the least that is left in any of them. Budgets above the tenant may hold less than the
//! others: see `brokered.rs`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::brokered::{BrokeredHold, Wanted};
use super::hold_share::Requester;
use super::{
    Admission, AdmitDecision, Amounts, Balances, Binding, BudgetInForce, Emitted, Hold, IfShort, RefusedRequest,
    SummedWindows,
};
use crate::event::admin::{Enforcement, Scope, WhenShort};
use crate::event::hold::{BudgetReserved, BudgetWindow};
use crate::event::inference::{BudgetShare, BudgetShortfall, InferenceAdmitted};
use crate::event::{self, Inference, ScopeSubject, Stream};
use crate::ids::BudgetId;
use crate::money::{NanoUsd, NanoUsdSum};
use crate::output_cap::LoweredCap;
use crate::refusal::{ErrorCode, Refusal};
use crate::scope_index::LOOKED_AT_EACH;

/// A request that can be admitted, with the hold and the cap that it gets.
struct Granted {
    held: NanoUsd,
    lowered_cap: Option<LoweredCap>,
    windows: Vec<BudgetWindow>,
    /// The part that it holds above its tenant, if a budget there binds it and that is another amount.
    brokered: Option<Box<BrokeredHold>>,
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

/// Why a request gets no hold.
enum NotGranted {
    Short(Short),
    /// More budgets than may bind it, or too many to be looked at.
    TooManyBudgets,
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
            Err(NotGranted::Short(short)) if admission.if_short == IfShort::AskAgain && short.has_some_left => {
                AdmitDecision::Short
            }
            Err(not_granted) => {
                let refusal = match not_granted {
                    NotGranted::Short(short) => refusal_of(*short.shortfall, short.affordable),
                    NotGranted::TooManyBudgets => too_many_budgets(admission.bounds.budgets_max),
                };
                AdmitDecision::Refused(self.refuse(&RefusedRequest::of(admission, refusal), now))
            }
        }
    }

    /// The budgets that bind a request at `now`, in the order in which they are asked, and whether it fits.
    /// `wanted` is what it holds of a budget of this owner; `None` if nothing of it counts there.
    pub fn rooms(
        &self,
        request: &ScopeSubject<'_>,
        wanted: impl Fn(Scope) -> Option<NanoUsd>,
        now: DateTime<Utc>,
    ) -> Vec<BudgetRoom> {
        let room = |binding: Binding<'_>| BudgetRoom {
            window: binding.0,
            in_force: binding.1.clone(),
            amounts: self.amounts(&binding.0),
            left: self.left(&binding),
            resets_at: binding.1.budget.period.window(now).end,
            fits: wanted(binding.1.budget.scope.owner).is_none_or(|wanted| self.has_room(&binding, wanted)),
        };
        self.windows_of(request, now).into_iter().map(room).collect()
    }

    fn try_grant(&self, admission: &Admission, now: DateTime<Utc>) -> Result<Granted, NotGranted> {
        let request = admission.admitted.scope_subject(&admission.context);
        let windows = self.windows_within(admission.bounds.budgets_max, &request, now);
        let windows = windows.ok_or(NotGranted::TooManyBudgets)?;
        let requester = Requester::of(admission, &windows);
        let (wanted, lowered_cap) = self.grant(&windows, admission, &requester).map_err(|binding| {
            let room = self.room_for(&requester, binding);
            let wanted = requester.wanted(binding, Wanted::of(admission));
            let (share, brokered_usd) = (room.share, admission.brokered.map(|bound| bound.held));
            let shortfall = BudgetShortfall { share, brokered_usd, ..self.shortfall(binding, wanted, now) };
            NotGranted::Short(Short {
                shortfall: Box::new(shortfall),
                has_some_left: room.left > NanoUsdSum::ZERO,
                affordable: self.affordable(&windows, admission, &requester),
            })
        })?;
        let mut admitted = admission.admitted.clone();
        admitted.versions.budgets =
            windows.iter().map(|(window, in_force)| (window.budget_id, in_force.version)).collect();
        if let Some(cap) = lowered_cap {
            admitted.lower(cap);
            admitted.hold_shares = self.shares(&windows, &requester);
        }
        let observed = windows.iter().filter(|(_, in_force)| in_force.budget.enforcement == Enforcement::Observe);
        admitted.would_have_refused = observed
            .map(|binding| (binding, requester.wanted(binding, wanted)))
            .filter(|(binding, wanted)| !requester.counts_nothing(binding, *wanted) && !self.has_room(binding, *wanted))
            .map(|(binding, wanted)| self.shortfall(binding, wanted, now))
            .collect();
        // Nearly all requests have no provider of their tenant's own.
        let mut above: Vec<BudgetWindow> = Vec::new();
        if requester.brokered.is_some() {
            above.extend(windows.iter().filter(|binding| requester.is_brokered(binding)).map(|(window, _)| *window));
        }
        let windows = windows.into_iter().map(|(window, _)| window).filter(|window| !above.contains(window)).collect();
        let brokered = (!above.is_empty()).then(|| Box::new(BrokeredHold { held: wanted.brokered, windows: above }));
        Ok(Granted { held: wanted.all, lowered_cap, windows, brokered, admitted })
    }

    fn hold(&mut self, admission: &Admission, granted: Granted, now: DateTime<Utc>) -> AdmitDecision {
        let Granted { held, lowered_cap, windows, brokered, admitted } = granted;
        let (expires_at, model, context) = (now + admission.ttl, admitted.model.clone(), admission.context.clone());
        let summed = SummedWindows::default();
        let hold = Hold { held, windows, brokered, admitted_at: now, expires_at, model, context, summed };
        self.move_opened(&hold);
        let brokered = hold.recorded_part(None);
        let brokered_held = hold.brokered.as_ref().map(|part| part.held);
        let reserved = BudgetReserved { held_usd: held, budgets: hold.windows.clone(), expires_at, brokered };
        let emit = |stream, event| Emitted { stream, context: admission.context.clone(), event };
        let events = vec![
            emit(Stream::inference(admission.request_id), Inference::Admitted(admitted).into()),
            emit(Stream::hold(admission.request_id), event::Hold::Reserved(Box::new(reserved)).into()),
        ];
        self.open(admission.request_id, hold);
        AdmitDecision::Admitted { held, brokered_held, lowered_cap, expires_at, events }
    }

    /// The amounts to hold for a request, and the lowered cap if it gets one.
    ///
    /// Errors: the budget that is short. A budget that refuses is named before those that would shrink; of these, the one
    /// with the least left.
    fn grant<'a, 'b>(
        &self,
        windows: &'a [Binding<'b>],
        admission: &Admission,
        requester: &Requester<'_>,
    ) -> Result<(Wanted, Option<LoweredCap>), &'a Binding<'b>> {
        let left = |binding: &Binding<'_>| self.room_for(requester, binding).left;
        let is_short = |binding: &&Binding<'_>| self.is_short(binding, admission, requester);
        let Some(first) = windows.iter().find(is_short) else { return Ok((Wanted::of(admission), None)) };
        let mut short = windows.iter().filter(is_short);
        if let Some(refusing) = short.clone().find(|(_, in_force)| in_force.budget.when_short == WhenShort::Refuse) {
            return Err(refusing);
        }
        let tightest = short.clone().min_by_key(|binding| left(binding)).unwrap_or(first);
        let IfShort::Shrink(shrinking) = &admission.if_short else { return Err(tightest) };
        let least = short.try_fold(NanoUsd::MAX, |least, binding| Some(least.min(left(binding).to_amount()?)));
        let lowered = least.and_then(|least| shrinking.lowered(admission.admitted.max_output_tokens, least));
        let lowered = lowered.map(|(cap, held)| (Wanted::under(admission, cap.tokens(), held), Some(cap)));
        lowered.ok_or(tightest)
    }

    /// Whether a hard budget has too little left for the request.
    fn is_short(&self, binding: &Binding<'_>, admission: &Admission, requester: &Requester<'_>) -> bool {
        let wanted = requester.wanted(binding, Wanted::of(admission));
        let is_asked = is_hard(binding) && !requester.counts_nothing(binding, wanted);
        is_asked && self.room_for(requester, binding).left < NanoUsdSum::from(wanted)
    }

    /// The highest output cap with which the request would be admitted now if it were sent again. `None` if no useful cap
    /// would fit.
    fn affordable(&self, windows: &[Binding<'_>], admission: &Admission, requester: &Requester<'_>) -> Option<u64> {
        let IfShort::Shrink(shrinking) = &admission.if_short else { return None };
        let left = |binding: &Binding<'_>| self.room_for(requester, binding).left.to_amount();
        // A budget above the tenant that has enough for the brokered part has enough for less of it.
        let bounds =
            |binding: &&Binding<'_>| !requester.is_brokered(binding) || self.is_short(binding, admission, requester);
        let mut hard = windows.iter().filter(|binding| is_hard(binding)).filter(bounds);
        let least = hard.try_fold(NanoUsd::MAX, |least, binding| Some(least.min(left(binding)?)))?;
        shrinking.affordable(admission.admitted.max_output_tokens, least)
    }

    /// The shares of those budgets of which the requester may hold less than what is left.
    fn shares(&self, windows: &[Binding<'_>], requester: &Requester<'_>) -> BTreeMap<BudgetId, BudgetShare> {
        let hard = windows.iter().filter(|binding| is_hard(binding));
        hard.filter_map(|binding| Some((binding.0.budget_id, self.room_for(requester, binding).share?))).collect()
    }

    /// The rest of the budget's limit; negative if more is used than the limit.
    fn left(&self, (window, BudgetInForce { budget, .. }): &Binding<'_>) -> NanoUsdSum {
        NanoUsdSum::from(budget.limit_usd) - self.amounts(window).used()
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
            share: None,
            brokered_usd: None,
        }
    }
}

fn is_hard((_, in_force): &Binding<'_>) -> bool {
    in_force.budget.enforcement == Enforcement::Hard
}

/// The refusal of a request that more budgets bind than an event may name, or of which that would take too long to say.
fn too_many_budgets(max: usize) -> Refusal {
    let reason = format!(
        "more than {max} budgets bind this request, or more than {} have its model or some of its metadata: close some, or send it \
         with less metadata",
        max.saturating_mul(LOOKED_AT_EACH)
    );
    Refusal::invalid("", reason)
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
