//! The events that a bundle has: those of its tenant in a range of time; the earlier ones of requests that began before it; the
//! tenant's administration; and the prices, and the budgets and rate limits of its partner, from their beginnings on, so that a
//! gap between two of their changes is found. Narrowed ones of the partner have the metadata of other tenants: only those are in it
//! that bind a request in it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use events::event::admin::{NarrowedScope, Scope};
use events::event::{Change, Event, Inference, Recorded, Resource, Stream};
use events::ids::{PartnerId, PriceId, ProviderId, RequestId, TenantId};
use events::log::{EventFilter, LogError, PAGE_EVENTS, Reader};
use events::scope_index::ScopeIndex;

/// Whose events, and of which time.
#[derive(Clone, Copy, Debug)]
pub struct TenantRange {
    pub tenant: TenantId,
    /// Recorded at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    pub to: Option<DateTime<Utc>>,
}

#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("there is no tenant {0} in this ledger")]
    NoTenant(TenantId),
    #[error(
        "the newest checkpoint has {published} events, and the range ends at position {end}: try again in a moment"
    )]
    NotPublished { published: u64, end: u64 },
    #[error("cannot read the ledger: {0}")]
    Log(#[from] LogError),
}

/// The events of a bundle.
pub struct Selection {
    range: TenantRange,
    /// The last position.
    end: u64,
    /// Events that are not the tenant's in the range, by position.
    outside_range: BTreeMap<u64, Recorded>,
}

impl Selection {
    /// The events of a ledger whose published log has `published` of them. Blocking.
    pub fn of(log: &dyn Reader, range: TenantRange, published: u64) -> Result<Self, SelectError> {
        let end = end(log, range, published)?;
        let mut selection = Self { range, end, outside_range: BTreeMap::new() };
        let mut administration = log.administration_after(0)?;
        administration.retain(|recorded| recorded.position <= end);
        let partner = administration.iter().find_map(|recorded| partner_of(range.tenant, recorded));
        let partner = partner.ok_or(SelectError::NoTenant(range.tenant))?;
        let mut scoped = PartnersScopes::of(&administration, partner);
        let (mut admitted, mut begun_before, mut prices) = (HashSet::new(), BTreeSet::new(), BTreeSet::new());
        selection.each_of_tenant(log, &mut |recorded| {
            scoped.note_request(&recorded);
            if let Some(request) = request_of(&recorded) {
                if let Event::Inference(Inference::Admitted(_)) = &recorded.event {
                    admitted.insert(request);
                } else if !admitted.contains(&request) {
                    begun_before.insert(request);
                }
            }
            prices.extend(prices_of(&recorded));
            Ok::<_, SelectError>(())
        })?;
        for request in begun_before {
            for stream in [Stream::inference(request), Stream::hold(request)] {
                let events = log.stream(&stream)?.into_iter();
                for recorded in events.filter(|recorded| recorded.position <= end) {
                    scoped.note_request(&recorded);
                    prices.extend(prices_of(&recorded));
                    selection.outside_range.insert(recorded.position, recorded);
                }
            }
        }
        let shared = SharedTerms::of(&administration, scoped, &prices);
        selection.add_administration(administration, &shared);
        Ok(selection)
    }

    fn add_administration(&mut self, all: Vec<Recorded>, shared: &SharedTerms) {
        let tenant = self.range.tenant;
        let is_selected = |recorded: &Recorded| match recorded.context.tenant_id {
            Some(of) => of == tenant,
            None => shared.have(&recorded.event),
        };
        self.outside_range.extend(all.into_iter().filter(is_selected).map(|recorded| (recorded.position, recorded)));
    }

    /// Calls `each` with the events in the order of their positions. Blocking.
    pub fn each<E: From<LogError>>(
        &self,
        log: &dyn Reader,
        each: &mut dyn FnMut(&Recorded) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut outside = self.outside_range.values().peekable();
        self.each_of_tenant(log, &mut |recorded| {
            while let Some(before) = outside.next_if(|other| other.position <= recorded.position) {
                if before.position < recorded.position {
                    each(before)?;
                }
            }
            each(&recorded)
        })?;
        outside.try_for_each(each)
    }

    /// The tenant's own events in the range.
    fn each_of_tenant<E: From<LogError>>(
        &self,
        log: &dyn Reader,
        each: &mut dyn FnMut(Recorded) -> Result<(), E>,
    ) -> Result<(), E> {
        let TenantRange { tenant, from, to } = self.range;
        let filter = EventFilter { tenant: Some(tenant), from, to, ..EventFilter::default() };
        let mut after = 0;
        loop {
            let part = log.filtered(&filter, after, PAGE_EVENTS)?;
            let has_more = part.has_more() && part.until < self.end;
            for recorded in part.events.into_iter().filter(|recorded| recorded.position <= self.end) {
                each(recorded)?;
            }
            if !has_more {
                return Ok(());
            }
            after = part.until;
        }
    }
}

/// The last position. A checkpoint may be between two events that belong together; then it is the one before them.
fn end(log: &dyn Reader, range: TenantRange, published: u64) -> Result<u64, SelectError> {
    if let Some(to) = range.to {
        let end = log.first_since(to)?.saturating_sub(1);
        return if end <= published { Ok(end) } else { Err(SelectError::NotPublished { published, end }) };
    }
    let at_end = log.at(&[published])?;
    let has_next = |recorded: &Recorded| match &recorded.event {
        Event::Inference(Inference::Refused(_) | Inference::AttemptFailed(_)) => false,
        Event::Inference(_) => true,
        _ => false,
    };
    Ok(if at_end.get(&published).is_some_and(has_next) { published - 1 } else { published })
}

/// The request that an event is one of.
fn request_of(recorded: &Recorded) -> Option<RequestId> {
    let belongs_to_request = match &recorded.event {
        Event::Inference(Inference::Refused(_)) => false,
        Event::Inference(_) | Event::Hold(_) => true,
        _ => false,
    };
    recorded.context.request_id.filter(|_| belongs_to_request)
}

/// The prices that an admission names, by position.
fn prices_of(recorded: &Recorded) -> impl Iterator<Item = u64> {
    let versions = match &recorded.event {
        Event::Inference(Inference::Admitted(admitted)) => Some(&admitted.versions),
        _ => None,
    };
    versions.into_iter().flat_map(|versions| versions.prices.values().copied())
}

fn partner_of(tenant: TenantId, recorded: &Recorded) -> Option<PartnerId> {
    let Event::Resource(Resource::Tenant(change)) = &recorded.event else { return None };
    change.state().filter(|state| state.tenant_id == tenant).map(|state| state.partner_id)
}

/// The budgets and rate limits of a partner, and which of them bind requests of its tenant.
struct PartnersScopes {
    partner: Scope,
    /// The narrowed ones, with their scopes.
    narrowed: Vec<(String, NarrowedScope)>,
    /// Their places in the list.
    index: ScopeIndex<usize>,
    /// The ids of those that bind all requests, and of narrowed ones that bind a request.
    binding: HashSet<String>,
}

impl PartnersScopes {
    fn of(administration: &[Recorded], partner: PartnerId) -> Self {
        let partner = Scope::Partner(partner);
        let mut scopes = Self { partner, narrowed: Vec::new(), index: ScopeIndex::default(), binding: HashSet::new() };
        let mut seen = HashSet::new();
        for recorded in administration {
            let Some(scope) = scope_of(recorded).filter(|scope| scope.owner == partner) else { continue };
            let id = &recorded.stream.id;
            if scope.narrowing.is_none() {
                scopes.binding.insert(id.clone());
            } else if seen.insert(id) {
                scopes.index.push(scope, scopes.narrowed.len());
                scopes.narrowed.push((id.clone(), scope.clone()));
            }
        }
        scopes
    }

    /// Notes what binds a request that was admitted or refused.
    fn note_request(&mut self, recorded: &Recorded) {
        let request = match &recorded.event {
            Event::Inference(Inference::Admitted(admitted)) => admitted.scope_subject(&recorded.context),
            Event::Inference(Inference::Refused(refused)) => refused.scope_subject(&recorded.context),
            _ => return,
        };
        let found = self.index.narrowed(self.partner, &request).filter_map(|at| self.narrowed.get(at));
        let binding = found.filter(|(_, scope)| scope.binds(&request)).map(|(id, _)| id.clone());
        self.binding.extend(binding);
    }
}

/// The ids of terms that were in force for the tenant without being its own.
struct SharedTerms {
    prices: HashSet<PriceId>,
    budgets_and_limits: HashSet<String>,
}

impl SharedTerms {
    /// All prices of the backends that these ones are of, and the partner's budgets and rate limits that bind the requests.
    fn of(administration: &[Recorded], scoped: PartnersScopes, prices: &BTreeSet<u64>) -> Self {
        let states = || administration.iter().filter_map(|recorded| Some((recorded.position, price_of(recorded)?)));
        let named = states().filter(|(position, _)| prices.contains(position));
        let backends: HashSet<(ProviderId, &str)> = named.map(|(_, (_, backend))| backend).collect();
        let of_backends = states().filter(|(_, (_, backend))| backends.contains(backend));
        Self { prices: of_backends.map(|(_, (price, _))| price).collect(), budgets_and_limits: scoped.binding }
    }

    fn have(&self, event: &Event) -> bool {
        match event {
            Event::Resource(Resource::Price(change)) => self.prices.contains(&change.id()),
            Event::Resource(Resource::Budget(change)) => self.budgets_and_limits.contains(&change.id().to_string()),
            Event::Resource(Resource::RateLimit(change)) => self.budgets_and_limits.contains(&change.id().to_string()),
            _ => false,
        }
    }
}

/// A price and its backend, if the event has the state of one.
fn price_of(recorded: &Recorded) -> Option<(PriceId, (ProviderId, &str))> {
    let Event::Resource(Resource::Price(Change::Created(price) | Change::Changed(price))) = &recorded.event else {
        return None;
    };
    Some((price.price_id, (price.provider_id, price.model.as_str())))
}

fn scope_of(recorded: &Recorded) -> Option<&NarrowedScope> {
    match &recorded.event {
        Event::Resource(Resource::Budget(change)) => change.state().map(|budget| &budget.scope),
        Event::Resource(Resource::RateLimit(change)) => change.state().map(|limit| &limit.scope),
        _ => None,
    }
}
