//! The last changes of administration, by which an admission is found out that was planned on older tables than the log has.
//! Only what can change a plan counts: whoever creates tenants all day long must not make the requests of others be planned
//! again.

use std::collections::VecDeque;

use crate::event::{Context, Recorded, Stream, StreamKind};

/// The most changes in memory: more than happen while a request is planned. What was planned before them counts as stale.
const KEPT_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct RecentChanges {
    /// In order, each with its position.
    changes: VecDeque<(u64, Stream)>,
    /// The position up to which changes are not kept.
    forgotten: u64,
}

impl RecentChanges {
    /// Knows no change up to this position.
    pub(super) fn after(position: u64) -> Self {
        Self { changes: VecDeque::new(), forgotten: position }
    }

    pub(super) fn apply(&mut self, recorded: &Recorded) {
        if can_change_plans(recorded.stream.kind) {
            self.note(recorded.position, recorded.stream.clone());
        }
    }

    pub(super) fn note(&mut self, position: u64, stream: Stream) {
        if self.changes.len() == KEPT_MAX
            && let Some((oldest, _)) = self.changes.pop_front()
        {
            self.forgotten = oldest;
        }
        self.changes.push_back((position, stream));
    }

    /// The position of the last change after `planned_at` that may concern a request of this context.
    pub(super) fn concerning(&self, planned_at: u64, context: &Context) -> Option<u64> {
        let later = self.changes.iter().rev().take_while(|(position, _)| *position > planned_at);
        let concerning = later.filter(|(_, stream)| may_concern(stream, context)).map(|(position, _)| *position).next();
        concerning.or_else(|| (planned_at < self.forgotten).then_some(self.forgotten))
    }
}

/// True if changes of this kind can change rights, routes or prices. Budgets are the ledger's own, and limits are counted by
/// each node.
pub(super) const fn can_change_plans(kind: StreamKind) -> bool {
    match kind {
        StreamKind::Partner
        | StreamKind::Tenant
        | StreamKind::User
        | StreamKind::Key
        | StreamKind::Provider
        | StreamKind::ProviderKey
        | StreamKind::Model
        | StreamKind::Price => true,
        StreamKind::Budget
        | StreamKind::RateLimit
        | StreamKind::NodeKey
        | StreamKind::Revaluation
        | StreamKind::Import
        | StreamKind::Access
        | StreamKind::Alert
        | StreamKind::Inference
        | StreamKind::Hold => false,
    }
}

/// Owners concern the requests that they own; models, prices and providers all requests.
fn may_concern(stream: &Stream, context: &Context) -> bool {
    let id = stream.id.as_str();
    match stream.kind {
        StreamKind::Partner => context.partner_id.is_some_and(|partner| partner.is_written(id)),
        StreamKind::Tenant => context.tenant_id.is_some_and(|tenant| tenant.is_written(id)),
        StreamKind::User => context.user_id.is_some_and(|user| user.is_written(id)),
        StreamKind::Key => context.key_id.is_some_and(|key| key.is_written(id)),
        kind => can_change_plans(kind),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::event::Actor;
    use crate::ids::{KeyId, TenantId};

    fn context() -> Context {
        let (tenant_id, key_id) = (Some(Uuid::from_u128(1).into()), Some(Uuid::from_u128(1).into()));
        Context { tenant_id, key_id, ..Context::of(Actor::Operator) }
    }

    #[test]
    fn only_what_can_change_a_plan_makes_it_stale() {
        let mut changes = RecentChanges::default();
        let key = |number| Stream::new(StreamKind::Key, KeyId::from(Uuid::from_u128(number)));
        let tenant = Stream::new(StreamKind::Tenant, TenantId::from(Uuid::from_u128(2)));
        changes.note(3, tenant);
        changes.note(4, key(2));
        assert_eq!(changes.concerning(0, &context()), None, "other tenants and keys");
        changes.note(5, key(1));
        changes.note(6, key(2));
        assert_eq!(changes.concerning(4, &context()), Some(5), "its own key");
        assert_eq!(changes.concerning(5, &context()), None, "it was planned after that");
        changes.note(7, Stream::new(StreamKind::Price, "any"));
        assert_eq!(changes.concerning(5, &context()), Some(7));
    }

    #[test]
    fn what_was_planned_before_all_that_is_known_is_stale() {
        let mut changes = RecentChanges::after(10);
        assert_eq!((changes.concerning(9, &context()), changes.concerning(10, &context())), (Some(10), None));
        for position in 11..=11 + KEPT_MAX as u64 {
            changes.note(position, Stream::new(StreamKind::User, "other"));
        }
        assert_eq!((changes.concerning(10, &context()), changes.concerning(11, &context())), (Some(11), None));
    }
}
