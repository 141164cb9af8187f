//! Where the events of a tenant or a partner stand, so that its part of a long log can be read without the rest. Blocks of
//! positions instead of an index entry an event: an entry would cost every commit a page for each tenant in it. The rows
//! are written with the ledger's state, thousands of events at a time; what came after it is looked through.

use std::collections::BTreeSet;
use std::fmt;

use super::EventFilter;
use crate::event::Recorded;
use crate::ids::{PartnerId, TenantId};

/// Positions in one block; `owner_blocks` and `sql/select_owned.sql` divide by it.
pub(crate) const BLOCK_POSITIONS: u64 = 64;

/// Who may read a part of the log.
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
    /// The narrowest of those that a filter names.
    pub(super) fn of_filter(filter: &EventFilter) -> Option<Self> {
        filter.tenant.map(Self::Tenant).or(filter.partner.map(Self::Partner))
    }

    /// Whose part an event is in.
    pub(crate) fn of_event(recorded: &Recorded) -> impl Iterator<Item = Self> {
        let (partner, tenant) = (recorded.context.partner_id, recorded.context.tenant_id);
        partner.map(Self::Partner).into_iter().chain(tenant.map(Self::Tenant))
    }
}

/// The block that a position is in.
pub(crate) const fn block_of(position: u64) -> u64 {
    position / BLOCK_POSITIONS
}

/// Blocks that are not in the rows yet.
#[derive(Default)]
pub(super) struct OwnerBlocks {
    unwritten: BTreeSet<(Owner, u64)>,
}

impl OwnerBlocks {
    pub(super) fn take_in(&mut self, recorded: &Recorded) {
        let block = block_of(recorded.position);
        self.unwritten.extend(Owner::of_event(recorded).map(|owner| (owner, block)));
    }

    pub(super) fn unwritten(&self) -> impl Iterator<Item = &(Owner, u64)> {
        self.unwritten.iter()
    }

    /// They are in the rows.
    pub(super) fn rows_are_written(&mut self) {
        self.unwritten.clear();
    }
}
