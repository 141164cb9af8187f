//! The budgets, or the rate limits, of each owner. A change copies those of its owner alone, however many others have.

use events::event::ScopeSubject;
use events::event::admin::{NarrowedScope, Scope};
use events::scope_index::ScopeIndex;

use super::shared_map::SharedMap;

/// Ids by the scope that they bind.
pub struct OwnerIndex<I> {
    by_owner: SharedMap<Scope, ScopeIndex<I>>,
    /// The number of narrowed ones, of whatever owner.
    narrowed: usize,
}

impl<I> Clone for OwnerIndex<I> {
    fn clone(&self) -> Self {
        Self { by_owner: self.by_owner.clone(), narrowed: self.narrowed }
    }
}

impl<I> Default for OwnerIndex<I> {
    fn default() -> Self {
        Self { by_owner: SharedMap::default(), narrowed: 0 }
    }
}

impl<I: Copy + Ord> OwnerIndex<I> {
    pub fn push(&mut self, scope: &NarrowedScope, id: I) {
        self.by_owner.change(&scope.owner, |index| index.push(scope, id), is_empty);
        self.narrowed += usize::from(scope.narrowing.is_some());
    }

    /// Removes an id that was pushed.
    pub fn remove(&mut self, scope: &NarrowedScope, id: I) {
        let take_out = |index: &mut ScopeIndex<I>| {
            index.remove(scope, id);
        };
        self.by_owner.change(&scope.owner, take_out, is_empty);
        self.narrowed = self.narrowed.saturating_sub(usize::from(scope.narrowing.is_some()));
    }

    /// Those that bind all requests of an owner.
    pub fn whole(&self, owner: Scope) -> impl Iterator<Item = I> {
        self.by_owner.get(&owner).into_iter().flat_map(move |index| index.whole(owner))
    }

    /// The narrowed ones of an owner that may bind the request: whether they do, their scopes say.
    pub fn narrowed(&self, owner: Scope, request: &ScopeSubject<'_>) -> impl Iterator<Item = I> {
        self.by_owner.get(&owner).into_iter().flat_map(move |index| index.narrowed(owner, request))
    }

    /// Whether there are any narrowed ones, of whatever owner.
    pub const fn has_narrowed(&self) -> bool {
        self.narrowed > 0
    }

    /// The narrowed ones of these owners, in the order of their ids: at most so many, whatever there is.
    pub fn first_narrowed(&self, owners: impl Iterator<Item = Scope>, max: usize) -> Vec<I> {
        let of_owner = |owner| {
            let index = self.by_owner.get(&owner);
            index.map(|index| index.first_narrowed(std::iter::once(owner), max)).unwrap_or_default()
        };
        let mut first: Vec<I> = owners.flat_map(of_owner).collect();
        first.sort_unstable();
        first.truncate(max);
        first
    }

    /// Those under the same condition as this scope: all of these may bind one request.
    pub fn under_same_condition(&self, scope: &NarrowedScope) -> &[I] {
        self.by_owner.get(&scope.owner).map(|index| index.under_same_condition(scope)).unwrap_or_default()
    }
}

fn is_empty<I: PartialEq>(index: &ScopeIndex<I>) -> bool {
    *index == ScopeIndex::default()
}

#[cfg(test)]
mod tests {
    use events::event::Chain;
    use events::event::admin::Narrowing;
    use events::ids::TenantId;

    use super::*;

    #[test]
    fn a_change_copies_those_of_its_owner_alone() {
        let tenant = |number: u128| Scope::Tenant(TenantId::from(uuid::Uuid::from_u128(number)));
        let mut index = OwnerIndex::default();
        (0..1000).for_each(|number| index.push(&tenant(number).into(), number));
        let before = index.clone();
        index.remove(&tenant(7).into(), 7);
        index.push(&tenant(8).into(), 80);
        let of = |index: &OwnerIndex<u128>, number| index.whole(tenant(number)).collect::<Vec<_>>();
        assert_eq!((of(&before, 7), of(&index, 7), of(&index, 8)), (vec![7], vec![], vec![8, 80]));
        for number in (0..1000).filter(|number| ![7, 8].contains(number)) {
            let ours = index.by_owner.get(&tenant(number)).expect("the owner's");
            assert!(std::ptr::eq(ours, before.by_owner.get(&tenant(number)).expect("the owner's")), "{number}");
        }
    }

    #[test]
    fn narrowed_ones_are_counted_whoever_has_them() {
        let tenants = [1, 2].map(|number| TenantId::from(uuid::Uuid::from_u128(number)));
        let scopes = tenants.map(|tenant| {
            let conditions = Narrowing { model: Some("large".to_owned()), ..Narrowing::default() };
            NarrowedScope::narrowed(Scope::Tenant(tenant), conditions)
        });
        let mut index = OwnerIndex::default();
        assert!(!index.has_narrowed());
        scopes.iter().zip([2, 1]).for_each(|(scope, id)| index.push(scope, id));
        let request = ScopeSubject::unmarked(Chain { tenant: Some(tenants[0]), ..Chain::default() }, "large");
        assert_eq!(index.narrowed(scopes[0].owner, &request).collect::<Vec<_>>(), [2]);
        assert_eq!(index.first_narrowed(scopes.iter().map(|scope| scope.owner), 9), [1, 2]);
        assert_eq!(index.first_narrowed(scopes.iter().map(|scope| scope.owner), 1), [1]);
        assert_eq!(index.under_same_condition(&scopes[0]), [2]);
        index.remove(&scopes[0], 2);
        assert!(index.has_narrowed());
        index.remove(&scopes[1], 1);
        assert!(!index.has_narrowed() && index.by_owner.is_empty());
    }
}
