//! The evidence about a request in the log: its own events, the versions that its admission names, and the changes of administration
//! that it was decided by.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;

use events::event::admin::{Budget, Key, Model, NarrowedScope, Price, Provider, RateLimit, Reach, Team};
use events::event::hold::BudgetReserved;
use events::event::inference::{AttemptFailed, Backend, InferenceAdmitted};
use events::event::{
    Chain, Change, Event, Hold, Inference, Recorded, Resource, ResourceState, ScopeSubject, Stream, StreamKind,
};
use events::ids::{BudgetId, LimitId, PartnerId, PriceId, RequestId, TeamId, UserId, target_key};
use events::money::NanoUsd;

use super::ReadBounds;
use super::in_force::was_in_force;
use super::shadow::CopiedRequest;
use super::terms::TermsEvidence;
use crate::{EventFilter, LogError, PAGE_EVENTS, Reader};

/// Everything about one request.
pub(super) struct Evidence {
    pub request: RequestId,
    pub bounds: ReadBounds,
    /// Its own events, in order.
    pub life: Vec<Recorded>,
    /// The versions of its model, its key and providers that its admission names, in order.
    named: Vec<Recorded>,
    /// The versions of models among them that had been replaced, or had ended, when the request was planned.
    out_of_force: Vec<u64>,
    /// The changes that concern it, in order: of the prices of its backends, and of the budgets and rate limits of its chain.
    pub prices: Vec<Recorded>,
    pub budgets: Vec<Recorded>,
    pub limits: Vec<Recorded>,
    /// The changes of the teams that its user has been in, in order, without their other users.
    teams: Vec<Recorded>,
    /// The terms that it required of its targets, and those stated of them.
    pub terms: TermsEvidence,
    /// The request that it is a copy of.
    pub copied: Option<CopiedRequest>,
    /// Whether its user may have used its keys in other tenants.
    pub acts_elsewhere: bool,
    /// Whether its user is one of another tenant.
    pub is_guest: bool,
    /// False if there are too many changes to read them all.
    pub is_whole: bool,
}

/// The resources that concern the request.
#[derive(Default)]
struct WantedChanges {
    chain: Chain,
    /// Each as `provider_id/model`.
    backends: BTreeSet<String>,
    prices: HashSet<PriceId>,
    budgets: HashSet<BudgetId>,
    limits: HashSet<LimitId>,
    teams: HashSet<TeamId>,
}

/// A change of a team without its other users: a team has a thousand, and may be changed often.
fn of_one_user(mut recorded: Recorded, user: Option<UserId>) -> Recorded {
    if let Event::Resource(Resource::Team(Change::Created(team) | Change::Changed(team))) = &mut recorded.event {
        team.user_ids.retain(|of_team| Some(*of_team) == user);
    }
    recorded
}

impl Evidence {
    /// `None` if the log has no event of the request.
    pub(super) fn read(reader: &dyn Reader, request: RequestId, bounds: ReadBounds) -> Result<Option<Self>, LogError> {
        let life = life_of(reader, request)?;
        let (Some(begin), Some(last)) = (life.first(), life.last()) else { return Ok(None) };
        let mut wanted =
            WantedChanges { chain: begin.context.chain(), backends: backends(&life), ..WantedChanges::default() };
        let (until, mut named) = (last.position, Vec::new());
        if let Event::Inference(Inference::Admitted(admitted)) = &begin.event {
            let named_versions = [Some(admitted.versions.model), admitted.versions.alias, admitted.versions.key];
            let named_versions = named_versions.into_iter().flatten();
            let versions: Vec<u64> = named_versions.chain(admitted.versions.providers.values().copied()).collect();
            named.extend(reader.at(&versions)?.into_values());
        }
        let mut evidence = Self {
            request,
            bounds,
            life,
            named,
            out_of_force: Vec::new(),
            prices: Vec::new(),
            budgets: Vec::new(),
            limits: Vec::new(),
            teams: Vec::new(),
            terms: TermsEvidence::default(),
            copied: None,
            acts_elsewhere: false,
            is_guest: false,
            is_whole: true,
        };
        if let Some(AdmissionEvidence { recorded, admitted, .. }) = evidence.admission() {
            let model = evidence.model(admitted.versions.model);
            let terms = TermsEvidence::read(reader, recorded, admitted, model.as_ref())?;
            let mut out_of_force = Vec::new();
            for version in evidence.named.iter().filter(|named| named.stream.kind == StreamKind::Model) {
                if !was_in_force(reader, version, recorded)? {
                    out_of_force.push(version.position);
                }
            }
            let copied = admitted
                .shadow_of
                .map(|copied| CopiedRequest::read(reader, copied, life_of(reader, copied)?, recorded.position));
            let copied = copied.transpose()?;
            (evidence.terms, evidence.out_of_force, evidence.copied) = (terms, out_of_force, copied);
        }
        evidence.read_changes(reader, &mut wanted, until)?;
        Ok(Some(evidence))
    }

    fn read_changes(&mut self, reader: &dyn Reader, wanted: &mut WantedChanges, until: u64) -> Result<(), LogError> {
        let users_partner = self.read_user(reader, wanted.chain, until)?;
        // A key that acts in another partner's tenant is bound by the budgets of its own partner too.
        let mut partners = vec![wanted.chain.partner];
        partners.extend(users_partner.map(Some).filter(|of_user| *of_user != wanted.chain.partner));
        let of_partners = partners.into_iter().map(|partner| {
            let types = types_of(Budget::LITERALS.into_iter().chain(RateLimit::LITERALS));
            EventFilter { types: Some(types), partner, ..EventFilter::default() }
        });
        // Prices of shared providers belong to no partner.
        let of_prices = EventFilter { types: Some(types_of(Price::LITERALS)), ..EventFilter::default() };
        let mut read = 0;
        // Requests in other tenants count for no team.
        let of_teams = wanted.chain.tenant.map(|tenant| {
            let types = types_of(Team::LITERALS);
            EventFilter { types: Some(types), tenant: Some(tenant), ..EventFilter::default() }
        });
        for filter in of_partners.chain([of_prices]).chain(of_teams) {
            read += self.read_filtered(reader, &filter, wanted, until, self.bounds.changes - read)?;
            if read > self.bounds.changes {
                self.is_whole = false;
                return Ok(());
            }
        }
        self.budgets.sort_by_key(|recorded| recorded.position);
        self.limits.sort_by_key(|recorded| recorded.position);
        Ok(())
    }

    /// Keeps what the request needs of the filtered changes up to a position. Returns how many were read: no more pages once that
    /// is more than `changes_max`.
    fn read_filtered(
        &mut self,
        reader: &dyn Reader,
        filter: &EventFilter,
        wanted: &mut WantedChanges,
        until: u64,
        changes_max: usize,
    ) -> Result<usize, LogError> {
        let (mut after, mut read) = (0, 0);
        loop {
            reader.check_interrupt()?;
            let part = reader.filtered(filter, after, PAGE_EVENTS)?;
            let has_more = part.has_more() && part.until < until;
            after = part.until;
            for recorded in part.events.into_iter().take_while(|recorded| recorded.position <= until) {
                read += 1;
                self.keep(recorded, wanted);
            }
            if !has_more || read > changes_max {
                return Ok(read);
            }
        }
    }

    /// Notes whether the user is one of another tenant, or may have used its keys in others, and returns its partner.
    fn read_user(&mut self, reader: &dyn Reader, chain: Chain, until: u64) -> Result<Option<PartnerId>, LogError> {
        let Some(user) = chain.user else { return Ok(None) };
        let changes = reader.stream(&Stream::new(StreamKind::User, user))?;
        for recorded in changes.iter().take_while(|recorded| recorded.position <= until) {
            if let Event::Resource(Resource::User(change)) = &recorded.event
                && let Some(user) = change.state()
            {
                let is_own = |reach| reach == Reach::Tenant(user.tenant_id);
                self.is_guest = chain.tenant != Some(user.tenant_id);
                self.acts_elsewhere |= !user.roles.iter().all(|grant| is_own(grant.scope));
            }
        }
        Ok(changes.first().and_then(|created| created.context.partner_id))
    }

    fn keep(&mut self, recorded: Recorded, wanted: &mut WantedChanges) {
        let Event::Resource(resource) = &recorded.event else { return };
        let binds = |scope: &NarrowedScope| scope.binds(&self.scope_subject());
        let user = wanted.chain.user;
        let has_user = |team: &Team| user.is_some_and(|user| team.user_ids.contains(&user));
        match resource {
            Resource::Price(change)
                if is_wanted(&mut wanted.prices, change, |price| wanted.backends.contains(&key(price))) =>
            {
                self.prices.push(recorded);
            }
            Resource::Team(change) if is_wanted(&mut wanted.teams, change, has_user) => {
                self.teams.push(of_one_user(recorded, user));
            }
            Resource::Budget(change) if is_wanted(&mut wanted.budgets, change, |budget| binds(&budget.scope)) => {
                self.budgets.push(recorded);
            }
            Resource::RateLimit(change) if is_wanted(&mut wanted.limits, change, |limit| binds(&limit.scope)) => {
                self.limits.push(recorded);
            }
            _ => {}
        }
    }

    /// The subject of scopes, which decides which budgets and limits bind the request, from its first event.
    pub(super) fn scope_subject(&self) -> ScopeSubject<'_> {
        match self.life.first().map(|begin| (&begin.context, &begin.event)) {
            Some((context, Event::Inference(Inference::Admitted(admitted)))) => admitted.scope_subject(context),
            Some((context, Event::Inference(Inference::Refused(refused)))) => refused.scope_subject(context),
            Some((context, _)) => ScopeSubject::of_chain(context.chain()),
            None => ScopeSubject::of_chain(Chain::default()),
        }
    }

    /// The sentence for evidence that is not whole.
    pub(super) fn too_many_changes(&self) -> String {
        let changes = self.bounds.changes;
        format!(
            "the log has more than {changes} changes of prices, and of teams, budgets and rate limits of its partner, up to this request: \
             too much to read"
        )
    }

    /// The sentence for budgets that have too many movements.
    pub(super) fn too_much_spending(&self) -> String {
        let positions = self.bounds.positions;
        format!("more than {positions} positions would have to be read for what a budget had before the request")
    }

    /// The resources that its own events are checked against, in order.
    pub(super) fn resources(&self) -> Vec<Recorded> {
        let named = self.named.iter().chain(self.terms.stating());
        let mut resources: Vec<Recorded> = named.chain(&self.prices).chain(&self.teams).cloned().collect();
        resources.sort_by_key(|recorded| recorded.position);
        // A forged admission may name one version twice.
        resources.dedup_by_key(|recorded| recorded.position);
        resources
    }

    /// The version of its model that its admission names, with its targets in the order that strategies get them in.
    pub(super) fn model(&self, version: u64) -> Option<Model> {
        let named = self.named.iter().find(|recorded| recorded.position == version)?;
        let mut model = named.event.state::<Model>()?.clone();
        model.sort_targets();
        Some(model)
    }

    /// Whether this version of a model was in force when the request was planned.
    pub(super) fn was_in_force(&self, version: u64) -> bool {
        !self.out_of_force.contains(&version)
    }

    /// A version of a provider that its admission names.
    pub(super) fn provider(&self, version: u64) -> Option<&Provider> {
        let named = self.named.iter().find(|recorded| recorded.position == version)?;
        named.event.state()
    }

    /// The version of its key that its admission names; `None` if that one was a rotation.
    pub(super) fn key(&self, version: u64) -> Option<&Key> {
        let named = self.named.iter().find(|recorded| recorded.position == version)?;
        named.event.state()
    }

    /// A version of a price, with the event that it is of.
    pub(super) fn price(&self, version: u64) -> Option<(&Recorded, &Price)> {
        let recorded = self.prices.iter().find(|recorded| recorded.position == version)?;
        Some((recorded, recorded.event.state()?))
    }

    /// Its admission, if it was admitted.
    pub(super) fn admission(&self) -> Option<AdmissionEvidence<'_>> {
        let recorded = self.life.first()?;
        Some(AdmissionEvidence { evidence: self, recorded, admitted: recorded.event.admission()? })
    }

    /// Its hold.
    pub(super) fn hold(&self) -> Option<(&Recorded, &BudgetReserved)> {
        self.life.iter().find_map(|recorded| match &recorded.event {
            Event::Hold(Hold::Reserved(reserved)) => Some((recorded, &**reserved)),
            _ => None,
        })
    }

    /// The amount of its hold.
    pub(super) fn held(&self) -> Option<HeldAmount> {
        self.hold().map(|(recorded, reserved)| HeldAmount { position: recorded.position, amount: reserved.held_usd })
    }
}

/// The admission that is checked, and the evidence about it.
#[derive(Clone, Copy)]
pub(super) struct AdmissionEvidence<'a> {
    pub evidence: &'a Evidence,
    pub recorded: &'a Recorded,
    pub admitted: &'a InferenceAdmitted,
}

/// The amount that was held for a request.
#[derive(Clone, Copy)]
pub(super) struct HeldAmount {
    /// The position of the hold.
    pub(super) position: u64,
    pub(super) amount: NanoUsd,
}

/// Whether the change is of a wanted resource: one that was wanted before, or is one of these now.
fn is_wanted<R: ResourceState<Id: Eq + Hash>>(
    wanted: &mut HashSet<R::Id>,
    change: &Change<R>,
    is_one: impl Fn(&R) -> bool,
) -> bool {
    wanted.extend(change.state().filter(|state| is_one(state)).map(ResourceState::id));
    wanted.contains(&change.id())
}

fn types_of(literals: impl IntoIterator<Item = (&'static str, u32)>) -> Vec<(String, u32)> {
    literals.into_iter().map(|(name, version)| (name.to_owned(), version)).collect()
}

/// The events of a request, in order, as of one moment: the end of a request and that of its hold are appended together, but on
/// two streams, of which the second may be read after it has ended.
pub fn life_of(reader: &dyn Reader, request: RequestId) -> Result<Vec<Recorded>, LogError> {
    let head = reader.head()?.position;
    let mut life = reader.stream(&Stream::inference(request))?;
    life.extend(reader.stream(&Stream::hold(request))?);
    life.retain(|recorded| recorded.position <= head);
    life.sort_by_key(|recorded| recorded.position);
    Ok(life)
}

fn key(price: &Price) -> String {
    target_key(price.provider_id, &price.model)
}

/// The backends that the request names, as `provider_id/model`.
fn backends(life: &[Recorded]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for recorded in life {
        let Event::Inference(fact) = &recorded.event else { continue };
        match fact {
            Inference::Admitted(admitted) => {
                let InferenceAdmitted { versions, .. } = &**admitted;
                found.extend(versions.prices.keys().cloned());
            }
            Inference::AttemptFailed(attempt) => {
                let AttemptFailed { backend, .. } = &**attempt;
                found.insert(backend.key());
            }
            Inference::Completed(ended) | Inference::Failed(ended) | Inference::Aborted(ended) => {
                found.extend(ended.backend.iter().map(Backend::key));
            }
            Inference::Refused(_) => {}
        }
    }
    found
}
