//! Admission: one hold on every budget that binds the request, or on none.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::{Admission, Balances, BudgetInForce, Decision, Emitted, Hold, RefusedRequest, budget_versions};
use crate::event::hold::{BudgetReserved, BudgetWindow};
use crate::event::{Event, Stream};
use crate::money::NanoUsd;
use crate::time::rfc3339;
use crate::wire::{ErrorCode, Refusal};

impl Balances {
    pub(super) fn admit(&mut self, admission: &Admission, now: DateTime<Utc>) -> Decision {
        // A repeat first: it must not be refused by its own first attempt.
        if self.open.contains_key(&admission.request_id) {
            return Decision::AlreadyAdmitted;
        }
        let windows = self.windows_of(&admission.context.chain(), now);
        if let Some((window, budget)) =
            windows.iter().find(|(window, budget)| !self.has_room(window, budget, admission.held))
        {
            let refusal = self.budget_exceeded(window, budget, admission.held, now);
            return self.refuse(&RefusedRequest::of(admission, refusal), now);
        }
        let mut admitted = admission.admitted.clone();
        admitted.versions.budgets = budget_versions(&windows);
        let windows: Vec<_> = windows.into_iter().map(|(window, _)| window).collect();
        if self.move_all(&windows, NanoUsd::ZERO, admission.held).is_none() {
            return Decision::Overflow;
        }
        let expires_at = now + admission.ttl;
        let reserved = BudgetReserved { held_usd: admission.held, budgets: windows.clone(), expires_at };
        let model = admitted.model.clone();
        let emit = |stream, event| Emitted { stream, context: admission.context.clone(), event };
        let events = vec![
            emit(Stream::inference(admission.request_id), Event::InferenceAdmitted(admitted)),
            emit(Stream::hold(admission.request_id), Event::BudgetReserved(Box::new(reserved))),
        ];
        let context = admission.context.clone();
        self.open(
            admission.request_id,
            Hold { held: admission.held, windows, admitted_at: now, expires_at, model, context },
        );
        Decision::Admitted { expires_at, events }
    }

    fn has_room(&self, window: &BudgetWindow, budget: &BudgetInForce, wanted: NanoUsd) -> bool {
        self.moved(window, NanoUsd::ZERO, wanted)
            .and_then(|after| after.settled.checked_add(after.held))
            .is_some_and(|used| used <= budget.limit)
    }

    fn budget_exceeded(
        &self,
        window: &BudgetWindow,
        budget: &BudgetInForce,
        requested: NanoUsd,
        now: DateTime<Utc>,
    ) -> Refusal {
        let amounts = self.amounts(window);
        let resets_at = budget.period.window(now).end;
        let mut details = Map::new();
        details.insert("budget_id".into(), window.budget_id.to_string().into());
        details.insert("scope".into(), json!(budget.scope));
        details.insert("limit_usd".into(), budget.limit.to_string().into());
        details.insert("settled_usd".into(), amounts.settled.to_string().into());
        details.insert("held_usd".into(), amounts.held.to_string().into());
        details.insert("requested_usd".into(), requested.to_string().into());
        details.insert("resets_at".into(), resets_at.map_or(Value::Null, |at| rfc3339(at).into()));
        let message = format!("the budget {} has not enough left for this request", window.budget_id);
        Refusal { details, ..Refusal::new(ErrorCode::BudgetExceeded, message) }
    }
}
