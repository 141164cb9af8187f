//! How much each tenant and each partner has of what is bounded ([`ResourceBound`]): counts and bytes of live resources, and the bytes
//! that the keys of a tenant have written today. They are a fold of the log like all tables, so that every node knows the same, also
//! after a restart.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use events::event::admin::{KindBound, Reach, ResourceBound, Scope, bounded_owner};
use events::event::{Actor, Change, Event, Recorded, ResourceState, StreamKind};
use events::ids::{Prefixed, TenantId};
use uuid::Uuid;

use super::Tables;
use super::shared_map::SharedMap;
use crate::reach;

/// The counts of all owners that have something.
#[derive(Clone, Default)]
pub struct OwnedResources {
    used: SharedMap<Scope, Used>,
    /// Bytes of the state of each live resource that an owner has.
    kept: SharedMap<Uuid, u64>,
    written: SharedMap<TenantId, WrittenBytes>,
}

/// The counts of one owner.
type Used = BTreeMap<ResourceBound, u64>;

/// The bytes that the keys of a tenant have written on the last day on which they wrote something.
#[derive(Clone, Copy)]
struct WrittenBytes {
    day: NaiveDate,
    bytes: u64,
}

impl OwnedResources {
    /// Counts a change of the owner's resource, whose state has so many bytes now.
    fn count<R: ResourceState>(&mut self, owner: Scope, bound: ResourceBound, change: &Change<R>, bytes: u64) {
        let id = change.id().uuid();
        let before = self.kept.get(&id).copied().unwrap_or(0);
        let mut used = self.used.get(&owner).cloned().unwrap_or_default();
        let live = used.entry(bound).or_default();
        match change {
            Change::Created(_) => *live = live.saturating_add(1),
            Change::Changed(_) => {}
            Change::Ended(_) => *live = live.saturating_sub(1),
        }
        let kept = used.entry(ResourceBound::AdminBytesKept).or_default();
        *kept = kept.saturating_add(bytes).saturating_sub(before);
        self.used.insert(owner, used);
        if change.state().is_some() {
            self.kept.insert(id, bytes);
        } else {
            self.kept.remove(&id);
        }
    }

    fn count_written(&mut self, tenant: TenantId, day: NaiveDate, bytes: u64) {
        let before = self.written_on(tenant, day);
        self.written.insert(tenant, WrittenBytes { day, bytes: before.saturating_add(bytes) });
    }

    fn written_on(&self, tenant: TenantId, day: NaiveDate) -> u64 {
        self.written.get(&tenant).filter(|written| written.day == day).map_or(0, |written| written.bytes)
    }
}

impl Tables {
    /// Counts a change of a resource for its owner, and for the tenant whose key made it.
    pub(super) fn count<R: ResourceState>(&mut self, change: &Change<R>, recorded: &Recorded) {
        let owner = owner_and_bound(R::KIND, recorded);
        let writer = self.bounded_writer(&recorded.context.actor);
        if owner.is_none() && writer.is_none() {
            return;
        }
        // An end leaves nothing, and makes room.
        let bytes = if change.state().is_some() { payload_bytes(&recorded.event) } else { 0 };
        if let Some((owner, bound)) = owner {
            self.owned.count(owner, bound, change, bytes);
        }
        if let Some(tenant) = writer {
            self.owned.count_written(tenant, recorded.recorded_at.date_naive(), bytes);
        }
    }

    /// Counts another event of a resource, such as the rotation of a key, for the tenant whose key made it.
    pub(super) fn count_fact(&mut self, recorded: &Recorded) {
        if let Some(tenant) = self.bounded_writer(&recorded.context.actor) {
            self.owned.count_written(tenant, recorded.recorded_at.date_naive(), payload_bytes(&recorded.event));
        }
    }

    /// The tenant for which creations and changes by this actor count; `None` for whoever reaches the platform.
    pub fn bounded_writer(&self, actor: &Actor) -> Option<TenantId> {
        let Actor::Key(id) = actor else { return None };
        let entry = self.key(*id)?;
        let user = self.user(entry.key.user_id)?;
        let reach = reach::of_permissions(&user.value, &entry.key.permissions);
        entry.chain.tenant.filter(|_| reach != Reach::Platform)
    }

    /// How many live resources, or bytes of them, a tenant or a partner has. [`Self::bytes_written`] has the bytes of a day.
    pub fn used(&self, owner: Scope, bound: ResourceBound) -> u64 {
        self.owned.used.get(&owner).and_then(|used| used.get(&bound)).copied().unwrap_or(0)
    }

    /// How much a tenant or a partner may have.
    pub fn bound(&self, owner: Scope, bound: ResourceBound) -> u64 {
        let set = match owner {
            Scope::Tenant(id) => self.tenant(id).and_then(|tenant| tenant.value.bounds.get(bound)),
            Scope::Partner(id) => self.partner(id).and_then(|partner| partner.value.bounds.get(bound)),
            Scope::Team(_) | Scope::User(_) | Scope::Key(_) => None,
        };
        set.unwrap_or(bound.default_max())
    }

    /// Bytes of the state of a live resource of a tenant or a partner.
    pub fn bytes_kept_of(&self, id: impl Prefixed) -> u64 {
        self.owned.kept.get(&id.uuid()).copied().unwrap_or(0)
    }

    /// Bytes of the creations and changes by the keys of a tenant on this day.
    pub fn bytes_written(&self, tenant: TenantId, day: NaiveDate) -> u64 {
        self.owned.written_on(tenant, day)
    }
}

fn owner_and_bound(kind: StreamKind, recorded: &Recorded) -> Option<(Scope, ResourceBound)> {
    let KindBound::By(bound) = KindBound::of(kind) else { return None };
    Some((bounded_owner(kind, &recorded.context.chain())?, bound))
}

fn payload_bytes(event: &Event) -> u64 {
    let mut payload = Vec::new();
    event.write_payload(&mut payload).map_or(0, |()| payload.len() as u64)
}
