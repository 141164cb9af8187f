//! An index of the blocks of positions that contain events of a tenant or a partner, so that its part of a long log can be
//! read without the rest. Blocks, because an index entry per event would cost every commit a page for each tenant in it. The
//! rows are written with the ledger's state, thousands of events at a time; later events are scanned.

use std::collections::BTreeSet;
use std::fmt;

use events::event::Recorded;
use events::ids::{PartnerId, TenantId};

use super::EventFilter;

/// Positions in one block; `owner_blocks` and `sql/select_owned.sql` divide by it.
pub(crate) const BLOCK_POSITIONS: u64 = 64;

/// The partner or tenant that a part of the log belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Partner(PartnerId),
    Tenant(TenantId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
        }
    }
}

impl Owner {
    /// The narrowest owner that a filter names.
    pub(super) fn of_filter(filter: &EventFilter) -> Option<Self> {
        filter.tenant.map(Self::Tenant).or(filter.partner.map(Self::Partner))
    }

    /// The owners of an event.
    pub(crate) fn of_event(recorded: &Recorded) -> impl Iterator<Item = Self> {
        let (partner, tenant) = (recorded.context.partner_id, recorded.context.tenant_id);
        partner.map(Self::Partner).into_iter().chain(tenant.map(Self::Tenant))
    }
}

/// The block of a position.
pub(crate) const fn block_of(position: u64) -> u64 {
    position / BLOCK_POSITIONS
}

/// Blocks that are not in the rows yet.
#[derive(Default)]
pub(super) struct OwnerBlocks {
    unwritten: BTreeSet<(Owner, u64)>,
    /// The owners and the block of the last event. Neighbours are often alike, and need no second look-up.
    before: Option<(Option<PartnerId>, Option<TenantId>, u64)>,
}

impl OwnerBlocks {
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        let block = block_of(recorded.position);
        let now = Some((recorded.context.partner_id, recorded.context.tenant_id, block));
        if self.before == now {
            return;
        }
        self.unwritten.extend(Owner::of_event(recorded).map(|owner| (owner, block)));
        self.before = now;
    }

    /// In order.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &(Owner, u64)> {
        self.unwritten.iter()
    }

    pub(super) fn rows_are_written(&mut self) {
        self.unwritten.clear();
        self.before = None;
    }
}
