//! Rate limits under the rules, counted by the gateway's own limiter at the times of the record.
//!
//! Only what the rules change is counted: a measure that stays as it is keeps its recorded decisions, since the record has neither
//! the exact instants at which the gateway counted, nor what other nodes did.

use std::collections::HashMap;
use std::sync::Arc;

use access_control::limits::{DefaultLimits, LimitHolder, LimitRefusal, RateLimitPermit, RateLimiter, TokenAmounts};
use chrono::{DateTime, TimeDelta, Utc};
use events::event::access::AccessRateLimited;
use events::event::admin::{NarrowedScope, RateLimit};
use events::event::{Actor, Change, Context, Event, Recorded, ScopeSubject, Stream, StreamKind};
use events::ids::LimitId;
use events::limit::{Bounds, LimitName, LimitedMeasure, Measure};
use events::time::{Clock, ManualClock};
use futures_util::FutureExt;
use projections::tables::Tables;

use crate::report::{Refuser, RefusingRule};
use crate::rules::{LimitChange, LimitRules, added_number};

/// How long before the period requests are counted: longer than any window, with the bucket by which one may last longer.
const WARM_UP: TimeDelta = TimeDelta::hours(25);

pub(crate) struct Limits<'r> {
    rules: &'r LimitRules,
    /// From here on, what the rules change is counted.
    counts_since: Option<DateTime<Utc>>,
    clock: Arc<ManualClock>,
    now: Option<DateTime<Utc>>,
    limiter: RateLimiter,
    /// The limits that the rules change, as recorded.
    recorded: HashMap<LimitId, RateLimit>,
    has_begun: bool,
}

/// The outcome for requests that a recorded limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    StillRefused,
    /// The limit is raised, and the record does not have what it would have counted.
    Undecided,
    /// Nothing but the limits that are counted refuses them.
    Counted,
}

impl<'r> Limits<'r> {
    pub(crate) fn new(rules: &'r LimitRules, from: Option<DateTime<Utc>>) -> Self {
        let clock = Arc::new(ManualClock::at(DateTime::UNIX_EPOCH));
        let limiter =
            RateLimiter::new(Arc::clone(&clock) as Arc<dyn Clock>, DefaultLimits::default()).with_any_number();
        let counts_since = from.and_then(|from| from.checked_sub_signed(WARM_UP));
        Self { rules, counts_since, clock, now: None, limiter, recorded: HashMap::new(), has_begun: false }
    }

    /// Whether anything is counted at this time.
    pub(crate) fn counts(&self, at: DateTime<Utc>) -> bool {
        (!self.rules.change.is_empty() || !self.rules.add.is_empty())
            && self.counts_since.is_none_or(|since| since <= at)
    }

    pub(crate) fn move_to(&mut self, now: DateTime<Utc>) {
        let passed = self.now.and_then(|before| (now - before).to_std().ok()).unwrap_or_default();
        self.clock.advance(passed);
        self.now = Some(now);
    }

    /// Folds a recorded change of a limit into the tables, under the rules. Limits that nothing changes are not counted, and are
    /// left out.
    pub(crate) fn fold(&mut self, change: &Change<RateLimit>, recorded: &Recorded, tables: &mut Tables) {
        let Some(rule) = self.rules.change.iter().find(|rule| rule.limit_id == change.id()) else { return };
        let Some(limit) = change.state() else {
            self.recorded.remove(&rule.limit_id);
            tables.fold(recorded);
            return;
        };
        self.recorded.insert(rule.limit_id, limit.clone());
        let ruled = RateLimit { bounds: self.bounds(rule, limit.bounds), ..limit.clone() };
        let change = match change {
            Change::Created(_) => Change::created(ruled),
            Change::Changed(_) | Change::Ended(_) => Change::changed(ruled),
        };
        tables.fold(&Recorded { event: change.into(), ..recorded.clone() });
    }

    /// Puts the rules in force.
    pub(crate) fn begin(&mut self, tables: &mut Tables, at: DateTime<Utc>) {
        self.has_begun = true;
        let changed = self.rules.change.iter().filter_map(|rule| {
            let limit = self.recorded.get(&rule.limit_id)?;
            Some(Change::changed(RateLimit { bounds: self.bounds(rule, limit.bounds), ..limit.clone() }))
        });
        let added = self.rules.add.iter().map(|limit| Change::created(limit.clone()));
        for change in changed.chain(added) {
            let (position, stream) = (tables.position, Stream::new(StreamKind::RateLimit, change.id()));
            let (context, event) = (Context::of(Actor::Operator), Event::from(change));
            tables.fold(&Recorded { position, recorded_at: at, stream, sequence: 1, context, event });
        }
    }

    /// The measures that the rule changes. Before the period they count, but refuse nothing.
    fn bounds(&self, rule: &LimitChange, recorded: Bounds) -> Bounds {
        let mut bounds = Bounds::default();
        for measure in Measure::ALL {
            let was = recorded.get(*measure);
            let is = rule.bound(*measure, was).filter(|is| Some(*is) != was);
            bounds.set(*measure, is.map(|is| if self.has_begun { is } else { u64::MAX }));
        }
        bounds
    }

    /// Counts a request, and its tokens if they are known.
    pub(crate) fn count(
        &self,
        request: &ScopeSubject<'_>,
        tables: &Tables,
        tokens: Option<TokenAmounts>,
    ) -> Result<RateLimitPermit, Refuser> {
        let mut binding = self.limiter.binding(tables, &request.chain, request.teams);
        let mut permit = at_once(self.limiter.acquire(&binding)).map_err(|refusal| self.reached(&refusal))?;
        if self.limiter.add_narrowed(&mut binding, tables, request) {
            let counted = at_once(self.limiter.acquire_narrowed(&binding, &mut permit));
            counted.map_err(|refusal| self.reached(&refusal))?;
        }
        if let Some(tokens) = tokens {
            at_once(self.limiter.reserve_tokens(&mut permit, tokens)).map_err(|refusal| self.reached(&refusal))?;
        }
        Ok(permit)
    }

    fn reached(&self, refusal: &LimitRefusal) -> Refuser {
        match refusal {
            LimitRefusal::RateLimited(limited) => {
                let scope = match &limited.holder {
                    LimitHolder::Scope(scope) => Some(scope.clone()),
                    LimitHolder::Operator => None,
                };
                Refuser { rule: self.rule(limited.name, limited.measure), scope }
            }
            LimitRefusal::Unavailable(_) | LimitRefusal::TooMany => unreachable!("{NEVER_WAITS}"),
        }
    }

    fn rule(&self, name: LimitName, measure: Measure) -> RefusingRule {
        match name {
            LimitName::Configured(id) => match added_number(id.uuid(), self.rules.add.len()) {
                Some(number) => RefusingRule::AddedRateLimit(number, measure),
                None => RefusingRule::RateLimit(id, measure),
            },
            LimitName::Default | LimitName::AdminDefault | LimitName::BuiltIn => {
                unreachable!("only limits of the rules are counted")
            }
        }
    }

    /// The scope of a limit that is recorded to have refused requests: they meet its conditions.
    pub(crate) fn scope_of(&self, limited: &AccessRateLimited) -> Option<&NarrowedScope> {
        let LimitName::Configured(id) = limited.limit_id else { return None };
        self.recorded.get(&id).map(|limit| &limit.scope)
    }

    /// Returns the outcome for requests that a limit is recorded to have refused.
    pub(crate) fn fate(&self, limited: &AccessRateLimited) -> Fate {
        let (LimitName::Configured(id), LimitedMeasure::Configured(measure)) = (limited.limit_id, limited.measure)
        else {
            return Fate::StillRefused;
        };
        if self.rules.remove.contains(&id) {
            return Fate::Counted;
        }
        let Some(rule) = self.rules.change.iter().find(|rule| rule.limit_id == id) else { return Fate::StillRefused };
        match rule.bound(measure, Some(limited.limit)) {
            None => Fate::Counted,
            Some(bound) if bound <= limited.limit => Fate::StillRefused,
            Some(_) if measure.is_of_tokens() || measure == Measure::ConcurrentRequests => Fate::Undecided,
            Some(_) => Fate::Counted,
        }
    }
}

/// Why the limiter answers at once, and with a number.
const NEVER_WAITS: &str = "a limiter that counts in this process asks nobody";

fn at_once<T>(answer: impl Future<Output = T>) -> T {
    answer.now_or_never().expect(NEVER_WAITS)
}
