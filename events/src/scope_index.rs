//! The budgets, or the rate limits, of each owner, so that those that bind a request are found without a look at the others:
//! an owner may have one for each of thousands of projects.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash};

use crate::event::ScopeSubject;
use crate::event::admin::{NarrowedScope, Scope};
use crate::ids::IdMap;

/// How many are looked at for one request at most, for each that may bind it: those under one of its conditions may have others, which
/// it does not meet.
pub const LOOKED_AT_EACH: usize = 16;

/// Those of the candidates that bind a request, as `binding` makes something of them. `None` if more than `most` do, or if more than
/// [`LOOKED_AT_EACH`] times `bind_max` would have to be looked at.
pub fn binding_of<T, B>(
    candidates: impl Iterator<Item = T>,
    binding: impl Fn(T) -> Option<B>,
    most: usize,
    bind_max: usize,
) -> Option<Vec<B>> {
    let mut left = bind_max.saturating_mul(LOOKED_AT_EACH);
    let mut found = Vec::new();
    for candidate in candidates {
        left = left.checked_sub(1)?;
        if let Some(binding) = binding(candidate) {
            if found.len() >= most {
                return None;
            }
            found.push(binding);
        }
    }
    Some(found)
}

/// Ids by the scope that they bind. Lists are in the order in which their ids were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeIndex<I> {
    /// Those that bind all requests of an owner.
    whole: IdMap<Scope, Vec<I>>,
    /// The others, of the owners that have some.
    narrowed: IdMap<Scope, Narrowed<I>>,
}

/// The narrowed ones of an owner, each under one of its conditions: the first one of metadata, or else its model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Narrowed<I> {
    /// All of them.
    ids: BTreeSet<I>,
    by_model: HashMap<String, Vec<I>>,
    /// Rows with metadata, by name and value.
    by_metadata: HashMap<String, HashMap<String, Vec<I>>>,
}

impl<I> Default for ScopeIndex<I> {
    fn default() -> Self {
        Self { whole: IdMap::default(), narrowed: IdMap::default() }
    }
}

impl<I> Default for Narrowed<I> {
    fn default() -> Self {
        Self { ids: BTreeSet::new(), by_model: HashMap::new(), by_metadata: HashMap::new() }
    }
}

impl<I: Copy + Ord> ScopeIndex<I> {
    pub fn push(&mut self, scope: &NarrowedScope, id: I) {
        self.insert(scope, id, usize::MAX);
    }

    /// Adds an id at this place of its list, or at the end.
    pub fn insert(&mut self, scope: &NarrowedScope, id: I, place: usize) {
        let list = match &scope.narrowing {
            None => self.whole.entry(scope.owner).or_default(),
            Some(conditions) => {
                let narrowed = self.narrowed.entry(scope.owner).or_default();
                narrowed.ids.insert(id);
                match (conditions.metadata.first(), &conditions.model) {
                    (Some((name, value)), _) => {
                        narrowed.by_metadata.entry(name.to_owned()).or_default().entry(value.to_owned()).or_default()
                    }
                    (None, model) => narrowed.by_model.entry(model.clone().unwrap_or_default()).or_default(),
                }
            }
        };
        list.insert(place.min(list.len()), id);
    }

    /// Removes an id, and returns its place.
    pub fn remove(&mut self, scope: &NarrowedScope, id: I) -> usize {
        let Some(conditions) = &scope.narrowing else { return take_out(&mut self.whole, &scope.owner, id) };
        let Some(narrowed) = self.narrowed.get_mut(&scope.owner) else { return 0 };
        narrowed.ids.remove(&id);
        let place = match (conditions.metadata.first(), &conditions.model) {
            (Some((name, value)), _) => {
                let Some(values) = narrowed.by_metadata.get_mut(name) else { return 0 };
                let place = take_out(values, value, id);
                if values.is_empty() {
                    narrowed.by_metadata.remove(name);
                }
                place
            }
            (None, model) => take_out(&mut narrowed.by_model, model.as_deref().unwrap_or_default(), id),
        };
        if narrowed.ids.is_empty() {
            self.narrowed.remove(&scope.owner);
        }
        place
    }

    /// Those that bind all requests of an owner.
    pub fn whole(&self, owner: Scope) -> impl Iterator<Item = I> {
        self.whole.get(&owner).into_iter().flatten().copied()
    }

    /// The narrowed ones of an owner that may bind the request: whether they do, their scopes say.
    pub fn narrowed(&self, owner: Scope, request: &ScopeSubject<'_>) -> impl Iterator<Item = I> {
        let narrowed = self.narrowed.get(&owner);
        let aliased = request.stands_for.filter(|aliased| *aliased != request.model);
        let models = [Some(request.model), aliased].into_iter().flatten();
        let of_model = models.filter_map(move |model| narrowed?.by_model.get(model)).flatten();
        let metadata = request.metadata;
        let of_metadata = narrowed.into_iter().flat_map(move |of| {
            metadata.iter().filter_map(move |(name, value)| of.by_metadata.get(name)?.get(value)).flatten()
        });
        of_model.chain(of_metadata).copied()
    }

    /// Whether there are any narrowed ones, of whatever owner.
    pub fn has_narrowed(&self) -> bool {
        !self.narrowed.is_empty()
    }

    /// The narrowed ones of these owners, in the order of their ids: at most so many, whatever there is.
    pub fn first_narrowed(&self, owners: impl Iterator<Item = Scope>, max: usize) -> Vec<I> {
        let of_owner = |owner| self.narrowed.get(&owner).into_iter().flat_map(|of| of.ids.iter().copied().take(max));
        let mut first: Vec<I> = owners.flat_map(of_owner).collect();
        first.sort_unstable();
        first.truncate(max);
        first
    }

    /// Those under the same condition as this scope: all of these may bind one request.
    pub fn under_same_condition(&self, scope: &NarrowedScope) -> &[I] {
        let list = match &scope.narrowing {
            None => self.whole.get(&scope.owner),
            Some(conditions) => self.narrowed.get(&scope.owner).and_then(|narrowed| {
                match (conditions.metadata.first(), &conditions.model) {
                    (Some((name, value)), _) => narrowed.by_metadata.get(name)?.get(value),
                    (None, model) => narrowed.by_model.get(model.as_deref().unwrap_or_default()),
                }
            }),
        };
        list.map(Vec::as_slice).unwrap_or_default()
    }
}

/// Takes an id out of the list under a key, which goes with its last id. Returns the place of the id.
fn take_out<K, Q, I, S>(lists: &mut HashMap<K, Vec<I>, S>, key: &Q, id: I) -> usize
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
    I: Eq,
    S: BuildHasher,
{
    let Some(list) = lists.get_mut(key) else { return 0 };
    let place = list.iter().position(|other| *other == id).unwrap_or(list.len());
    list.retain(|other| *other != id);
    if list.is_empty() {
        lists.remove(key);
    }
    place
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::Chain;
    use crate::event::admin::Narrowing;
    use crate::ids::TenantId;

    fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn those_that_bind_are_counted_and_those_that_are_looked_at_too() {
        let looked_at = std::cell::Cell::new(0);
        let of = |candidates: usize, each: usize, most: usize| {
            looked_at.set(0);
            let candidates = (0..candidates).inspect(|_| looked_at.set(looked_at.get() + 1));
            let binding = binding_of(candidates, |candidate| (candidate % each == 0).then_some(()), most, 4);
            (binding.as_ref().map(Vec::len), looked_at.get())
        };
        assert_eq!(of(4, 1, 4), (Some(4), 4));
        assert_eq!(of(10_000, 1, 4), (None, 5));
        assert_eq!(of(64, 32, 4), (Some(2), 64));
        assert_eq!(of(10_000, 32, 4), (None, 65));
        assert_eq!(of(64, 100, 1), (Some(1), 64), "fewer may bind beside others, and as many are looked at");
    }

    #[test]
    fn narrowed_ones_are_found_by_their_conditions_and_leave_nothing_when_they_are_removed() {
        let tenant = TenantId::from(uuid::Uuid::from_u128(1));
        let owner = Scope::Tenant(tenant);
        let scope = |model: Option<&str>, metadata: &[(&str, &str)]| {
            let conditions =
                Narrowing { model: model.map(str::to_owned), metadata: pairs(metadata).into_iter().collect() };
            NarrowedScope::narrowed(owner, conditions)
        };
        let scopes = [
            scope(None, &[]),
            scope(Some("large"), &[]),
            scope(None, &[("project", "apollo")]),
            scope(Some("large"), &[("project", "apollo"), ("team", "a")]),
            scope(None, &[("project", "gemini")]),
        ];
        let mut index = ScopeIndex::default();
        scopes.iter().enumerate().for_each(|(number, scope)| index.push(scope, number));
        let chain = Chain { tenant: Some(tenant), ..Chain::default() };
        let found = |index: &ScopeIndex<usize>, model: &str, metadata: &[(&str, &str)]| {
            let metadata = pairs(metadata);
            let request = ScopeSubject { metadata: &metadata, ..ScopeSubject::unmarked(chain, model) };
            let mut found: Vec<usize> = index.narrowed(owner, &request).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(index.whole(owner).collect::<Vec<_>>(), [0]);
        assert_eq!(found(&index, "large", &[("project", "apollo"), ("team", "a")]), [1, 2, 3]);
        assert_eq!(found(&index, "small", &[("project", "gemini")]), [4]);
        assert_eq!(found(&index, "small", &[]), [0; 0]);
        let of_alias = ScopeSubject { stands_for: Some("large"), ..ScopeSubject::unmarked(chain, "current") };
        assert_eq!(index.narrowed(owner, &of_alias).collect::<Vec<_>>(), [1]);
        let of_itself = ScopeSubject { stands_for: Some("large"), ..ScopeSubject::unmarked(chain, "large") };
        assert_eq!(index.narrowed(owner, &of_itself).collect::<Vec<_>>(), [1]);
        assert_eq!(
            (
                index.under_same_condition(&scopes[2]).len(),
                index.under_same_condition(&scopes[4]).len(),
                index.under_same_condition(&scopes[0]).len()
            ),
            (2, 1, 1)
        );
        let first =
            |max| index.first_narrowed([owner, Scope::Partner(uuid::Uuid::from_u128(1).into())].into_iter(), max);
        assert_eq!((first(9), first(2)), (vec![1, 2, 3, 4], vec![1, 2]));
        assert_eq!(index.remove(&scopes[3], 3), 1);
        for (number, scope) in scopes.iter().enumerate().filter(|(number, _)| *number != 3) {
            assert_eq!(index.remove(scope, number), 0);
        }
        assert_eq!(index, ScopeIndex::default());
    }
}
