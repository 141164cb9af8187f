//! The last changes of administration. They show which admissions were planned on tables older than the log. Only changes that
//! can change a plan count: the requests of others must not be planned again because somebody creates tenants, or changes models
//! of their own, all day long.

use std::collections::VecDeque;

use events::event::{Chain, Context, Recorded, Stream, StreamKind};

/// The most changes in memory, of some 150 bytes each: more than happen while a request is planned, even if one append has thousands
/// of them. What was planned before them counts as stale.
const KEPT_MAX: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    /// In order.
    changes: VecDeque<RecentChange>,
    /// The position up to which changes are not kept.
    forgotten: u64,
}

#[derive(Debug)]
struct RecentChange {
    position: u64,
    stream: Stream,
    /// The owners of what was changed; of a shared resource, none.
    owners: Chain,
}

impl RecentChanges {
    /// Knows no change up to this position.
    pub(super) fn after(position: u64) -> Self {
        Self { forgotten: position, ..Self::default() }
    }

    pub(super) fn apply(&mut self, recorded: &Recorded) {
        self.note(recorded.position, &recorded.stream, &recorded.context);
    }

    /// Keeps a change, with its context, if it can change plans.
    pub(super) fn note(&mut self, position: u64, stream: &Stream, context: &Context) {
        if !can_change_plans(stream.kind) {
            return;
        }
        if self.changes.len() == KEPT_MAX
            && let Some(oldest) = self.changes.pop_front()
        {
            self.forgotten = oldest.position;
        }
        self.changes.push_back(RecentChange { position, stream: stream.clone(), owners: context.chain() });
    }

    /// The position of the last change after `planned_at` that may concern a request of this context.
    pub(super) fn concerning(&self, planned_at: u64, context: &Context) -> Option<u64> {
        let mut later = self.changes.iter().rev().take_while(|change| change.position > planned_at);
        let concerning = later.find(|change| change.may_concern(context)).map(|change| change.position);
        concerning.or_else(|| (planned_at < self.forgotten).then_some(self.forgotten))
    }
}

/// True if changes of this kind can change rights, teams, routes or prices. Budgets are the ledger's own, and limits are counted before
/// the ledger is asked. No request of a model depends on a saved search.
const fn can_change_plans(kind: StreamKind) -> bool {
    match kind {
        StreamKind::Partner
        | StreamKind::Tenant
        | StreamKind::User
        | StreamKind::Team
        | StreamKind::Key
        | StreamKind::Provider
        | StreamKind::ProviderKey
        | StreamKind::Model
        | StreamKind::Price => true,
        StreamKind::Budget
        | StreamKind::RateLimit
        | StreamKind::AuditSearch
        | StreamKind::NodeKey
        | StreamKind::LogKey
        | StreamKind::Revaluation
        | StreamKind::Import
        | StreamKind::PublishedLog
        | StreamKind::Access
        | StreamKind::Alert
        | StreamKind::Inference
        | StreamKind::Hold => false,
    }
}

impl RecentChange {
    /// Owners concern the requests that they own. Teams, models, prices and providers concern those of the tenant that they belong to,
    /// since nobody else can use them, or all requests if they are shared.
    fn may_concern(&self, request: &Context) -> bool {
        let id = self.stream.id.as_str();
        match self.stream.kind {
            StreamKind::Partner => request.partner_id.is_some_and(|partner| partner.is_written(id)),
            StreamKind::Tenant => request.tenant_id.is_some_and(|tenant| tenant.is_written(id)),
            StreamKind::User => request.user_id.is_some_and(|user| user.is_written(id)),
            StreamKind::Key => request.key_id.is_some_and(|key| key.is_written(id)),
            _ => match self.owners {
                Chain { tenant: Some(tenant), .. } => request.tenant_id == Some(tenant),
                Chain { partner: Some(partner), .. } => request.partner_id == Some(partner),
                _ => true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use events::event::Actor;
    use events::ids::{KeyId, PartnerId, TenantId};

    use super::*;

    fn id<I: From<Uuid>>(number: u128) -> I {
        I::from(Uuid::from_u128(number))
    }

    /// A request with the key 1 of the tenant 1 of the partner 1.
    fn request() -> Context {
        let chain = Chain { partner: Some(id(1)), tenant: Some(id(1)), user: None, key: Some(id(1)) };
        Context::about(Actor::Operator, chain)
    }

    fn by_operator() -> Context {
        Context::of(Actor::Operator)
    }

    #[test]
    fn only_what_can_change_a_plan_makes_it_stale() {
        let mut changes = RecentChanges::default();
        let key = |number| Stream::new(StreamKind::Key, id::<KeyId>(number));
        let tenant = Stream::new(StreamKind::Tenant, id::<TenantId>(2));
        changes.note(3, &tenant, &by_operator());
        changes.note(4, &key(2), &by_operator());
        assert_eq!(changes.concerning(0, &request()), None, "other tenants and keys");
        changes.note(5, &key(1), &by_operator());
        changes.note(6, &key(2), &by_operator());
        assert_eq!(changes.concerning(4, &request()), Some(5), "its own key");
        assert_eq!(changes.concerning(5, &request()), None, "it was planned after that");
        changes.note(7, &Stream::new(StreamKind::Budget, "any"), &by_operator());
        assert_eq!(changes.concerning(5, &request()), None, "budgets are looked up when it is decided");
    }

    #[test]
    fn what_a_tenant_owns_concerns_that_tenant_and_what_is_shared_concerns_all() {
        let of_partner = |number| Chain { partner: Some(id::<PartnerId>(number)), ..Chain::default() };
        let of_tenant = |number| Chain { tenant: Some(id::<TenantId>(number)), ..of_partner(1) };
        for kind in
            [StreamKind::Team, StreamKind::Model, StreamKind::Price, StreamKind::Provider, StreamKind::ProviderKey]
        {
            for (owners, concerns) in [
                (Chain::default(), true),
                (of_tenant(1), true),
                (of_tenant(2), false),
                (of_partner(1), true),
                (of_partner(2), false),
            ] {
                let mut changes = RecentChanges::default();
                changes.note(7, &Stream::new(kind, "any"), &Context::about(Actor::Operator, owners));
                assert_eq!(changes.concerning(6, &request()).is_some(), concerns, "{kind:?} of {owners:?}");
                let for_nobody = changes.concerning(6, &by_operator());
                assert_eq!(
                    for_nobody.is_some(),
                    owners == Chain::default(),
                    "{kind:?} of {owners:?}, for the operator"
                );
            }
        }
    }

    #[test]
    fn what_was_planned_before_all_that_is_known_is_stale() {
        let mut changes = RecentChanges::after(10);
        assert_eq!((changes.concerning(9, &request()), changes.concerning(10, &request())), (Some(10), None));
        for position in 11..=11 + KEPT_MAX as u64 {
            changes.note(position, &Stream::new(StreamKind::User, "other"), &by_operator());
        }
        assert_eq!((changes.concerning(10, &request()), changes.concerning(11, &request())), (Some(11), None));
    }
}
