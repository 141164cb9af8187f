//! The replay: what is recorded is decided again, under the rules.

mod corrections;
mod decision;
mod refusals;
mod requests;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::event::inference::InferenceAdmitted;
use events::event::{Access, Event, Hold, Inference, Recorded, Resource};
use events::ids::RequestId;
use events::ledger::{Balances, UnknownUsage};
use projections::tables::Tables;

use crate::limits::Limits;
use crate::pricing::Pricing;
use crate::report::Report;
use crate::rules::Rules;
use crate::{LifeOf, Period, WhatIfError};
use corrections::{ChargedHold, LastRequests};
use requests::OpenRequest;

pub(crate) struct Replay<'r> {
    rules: &'r Rules,
    period: Period,
    /// The balances as recorded, until the period ends.
    recorded: Balances,
    /// The balances under the rules, from when the period begins until it ends.
    ruled: Option<Balances>,
    tables: Tables,
    pricing: Pricing,
    limits: Limits<'r>,
    /// The admission whose hold comes next.
    admitted: Option<(RequestId, Box<InferenceAdmitted>)>,
    open: HashMap<RequestId, OpenRequest>,
    /// Those that the rules refused: what they were charged is corrected in the record alone.
    refused: LastRequests<()>,
    /// Those whose hold expired, if the rules charge another one than the recorded one.
    charged_holds: LastRequests<ChargedHold>,
    windows_forgotten_at: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    report: Report,
}

impl<'r> Replay<'r> {
    pub(crate) fn new(rules: &'r Rules, period: Period) -> Self {
        Self {
            rules,
            period,
            recorded: Balances::default(),
            ruled: None,
            tables: Tables::default(),
            pricing: Pricing::new(rules),
            limits: Limits::new(&rules.rate_limits, period.from),
            admitted: None,
            open: HashMap::new(),
            refused: LastRequests::default(),
            charged_holds: LastRequests::default(),
            windows_forgotten_at: None,
            last: None,
            report: Report { period, ..Report::default() },
        }
    }

    /// Takes the next event of the log.
    pub(crate) fn apply(&mut self, recorded: &Recorded, life: LifeOf<'_>) -> Result<(), WhatIfError> {
        let now = recorded.recorded_at;
        (self.report.position, self.last) = (recorded.position, Some(now));
        if self.period.has_begun(now) && self.ruled.is_none() {
            self.begin(recorded.position, now);
        }
        self.limits.move_to(now);
        match &recorded.event {
            Event::Inference(fact) => self.inference(recorded, fact)?,
            Event::Hold(fact) => self.hold(recorded, fact, life)?,
            Event::Access(Access::RateLimited(limited)) => self.rate_limited(recorded, limited),
            Event::Resource(fact) => self.resource(recorded, fact),
            Event::Access(_) | Event::Alert(_) => {}
        }
        if self.period.has_ended(now) {
            return Ok(());
        }
        self.recorded.fold(recorded).map_err(|error| unsound(recorded, error.to_string()))
    }

    /// Drops all that can be forgotten, so that memory does not grow with the log.
    pub(crate) fn end_page(&mut self) {
        let Some(now) = self.last else { return };
        let is_due = self.windows_forgotten_at.is_none_or(|at| now - at >= TimeDelta::days(1));
        for balances in [Some(&mut self.recorded), self.ruled.as_mut()].into_iter().flatten() {
            // There are no rows here.
            balances.rows_are_written();
            // Only what refusals have left is swept, not holds: their ends are recorded.
            balances.sweep(UnknownUsage::ChargeHold, 0, now);
            if is_due {
                balances.forget_past_windows(now);
            }
        }
        if is_due {
            self.windows_forgotten_at = Some(now);
        }
    }

    pub(crate) fn finish(mut self) -> Report {
        let tenants = self.report.tenants.keys().flatten();
        let named = tenants.filter_map(|id| Some((*id, self.tables.tenant(*id)?.value.name.clone())));
        self.report.tenant_names = named.collect();
        for request in self.open.values().filter(|request| request.is_counted) {
            self.report.count(&request.party, |figures| figures.open += 1);
        }
        self.report
    }

    fn begin(&mut self, position: u64, now: DateTime<Utc>) {
        let mut ruled = self.recorded.clone();
        self.rules.budgets.begin(&mut ruled, position, now);
        self.limits.begin(&mut self.tables, now);
        self.ruled = Some(ruled);
    }

    fn resource(&mut self, recorded: &Recorded, fact: &Resource) {
        self.pricing.fold(recorded);
        match fact {
            Resource::RateLimit(change) => return self.limits.fold(change, recorded, &mut self.tables),
            Resource::Budget(change) => {
                if let Some(ruled) = &mut self.ruled {
                    self.rules.budgets.fold(ruled, change, recorded.position, recorded.recorded_at);
                }
            }
            _ => {}
        }
        self.tables.fold(recorded);
    }

    fn inference(&mut self, recorded: &Recorded, fact: &Inference) -> Result<(), WhatIfError> {
        match fact {
            Inference::Admitted(admitted) => {
                self.admitted = recorded.context.request_id.map(|request| (request, admitted.clone()));
            }
            Inference::Refused(refused) => self.refused(recorded, refused),
            Inference::AttemptFailed(attempt) => self.attempt_failed(recorded, attempt)?,
            Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended) => {
                self.ended(recorded, ended)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, recorded: &Recorded, fact: &Hold, life: LifeOf<'_>) -> Result<(), WhatIfError> {
        match fact {
            Hold::Reserved(reserved) => self.reserved(recorded, reserved),
            Hold::Settled(settled) => self.closed(recorded, Some(settled.charged_usd)),
            Hold::Expired(expired) => self.closed(recorded, Some(expired.charged_usd)),
            Hold::Released(_) => self.closed(recorded, None),
            Hold::Adjusted(adjusted) => self.adjusted(recorded, adjusted, life),
        }
    }
}

fn unsound(recorded: &Recorded, reason: String) -> WhatIfError {
    WhatIfError::Unsound { position: recorded.position, reason }
}

#[cfg(test)]
mod tests;
