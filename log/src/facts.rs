//! Facts: what decisions need to know besides balances. The jobs of a batch name them, the engine looks them up in one round
//! trip, and each decision updates them: a job sees the log as if the jobs before it were recorded.

use std::collections::{HashMap, HashSet};

use events::event::hold::BudgetWindow;
use events::event::{Recorded, Stream, StreamKind};
use events::ids::{IdMap, IdSet, RequestId, TenantId};
use events::ledger::EndedHold;

use super::hold_history::HoldHistory;
use super::side::ReplyKey;
use super::state::StoredWindow;
use super::{LogError, Name, SideRow, StoredReply};

/// A tenant's idempotency key for inference, without the request's fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClaimedKey {
    pub(super) tenant: TenantId,
    pub(super) key: String,
}

/// The last request admitted under such a key.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) fingerprint: [u8; 32],
    pub(super) request_id: RequestId,
}

/// The streams of a kind of administration that are about the same tenant, or about none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KindOfTenant {
    pub kind: StreamKind,
    pub tenant: Option<TenantId>,
}

/// The facts that a batch needs.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WantedFacts {
    pub(super) streams: HashSet<Stream>,
    pub(super) names: HashSet<Name>,
    pub(super) replies: HashSet<ReplyKey>,
    /// Each with the history of its request's hold.
    pub(super) claims: HashSet<ClaimedKey>,
    /// Each with the windows of the hold, if it expired.
    pub(super) holds: IdSet<RequestId>,
    /// Holds, each with its windows however it ended.
    pub(super) charges: IdSet<RequestId>,
    /// The revision of the imported catalogue.
    pub(super) catalogue: bool,
    /// Kinds of administration, each with a position: the newest stream that has begun after it.
    pub(super) begun: HashMap<KindOfTenant, u64>,
}

impl WantedFacts {
    /// Wants the newest stream of a kind that has begun after this position, or after a smaller one.
    pub(super) fn want_begun(&mut self, kind: KindOfTenant, after: u64) {
        self.begun.entry(kind).and_modify(|known| *known = after.min(*known)).or_insert(after);
    }
}

/// The last event of a stream; zeros for an empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StreamEnd {
    pub(super) sequence: u64,
    pub(super) position: u64,
}

/// The facts that were looked up. An absent entry was not looked up: that is an error, and never means "there is none".
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) streams: HashMap<Stream, StreamEnd>,
    pub(super) names: NameOwners,
    pub(super) replies: HashMap<ReplyKey, Option<StoredReply>>,
    pub(super) claims: HashMap<ClaimedKey, Option<Claim>>,
    /// Requests of claims that were admitted by another process of a shared log, which is gone.
    pub(super) orphaned: IdSet<RequestId>,
    pub(super) holds: IdMap<RequestId, HoldHistory>,
    /// Windows that may have been dropped from memory.
    pub(super) windows: Vec<StoredWindow>,
    /// The revision of the imported catalogue; 0 if none was imported.
    pub(super) catalogue: Option<u64>,
    /// For each kind, the position at which its newest stream began; 0 if none did after the wanted position.
    pub(super) begun: HashMap<KindOfTenant, u64>,
}

/// The owners of names. One batch can have thousands of owners that release theirs.
#[derive(Debug, Default)]
pub(super) struct NameOwners {
    pub(super) owners: HashMap<Name, Option<String>>,
    /// All names of each owner, and some that were its own earlier.
    names: HashMap<String, Vec<Name>>,
}

impl NameOwners {
    pub(super) fn insert(&mut self, name: Name, owner: Option<String>) {
        if let Some(owner) = &owner {
            self.names.entry(owner.clone()).or_default().push(name.clone());
        }
        self.owners.insert(name, owner);
    }

    fn release(&mut self, owner: &str) {
        for name in self.names.remove(owner).unwrap_or_default() {
            if let Some(holder) = self.owners.get_mut(&name) {
                holder.take_if(|holder| holder == owner);
            }
        }
    }

    fn release_within(&mut self, kind: StreamKind, scope: &str) {
        for (_, holder) in self.owners.iter_mut().filter(|(name, _)| name.kind == kind && name.scope == scope) {
            *holder = None;
        }
    }
}

impl Facts {
    pub(super) fn stream(&self, stream: &Stream) -> Result<StreamEnd, LogError> {
        self.streams.get(stream).copied().ok_or_else(|| not_looked_up("a stream"))
    }

    pub(super) fn owner(&self, name: &Name) -> Result<Option<&str>, LogError> {
        Ok(self.names.owners.get(name).ok_or_else(|| not_looked_up("a name"))?.as_deref())
    }

    pub(super) fn reply(&self, key: &ReplyKey) -> Result<Option<&StoredReply>, LogError> {
        Ok(self.replies.get(key).ok_or_else(|| not_looked_up("an idempotency key"))?.as_ref())
    }

    pub(super) fn claim(&self, key: &ClaimedKey) -> Result<Option<&Claim>, LogError> {
        Ok(self.claims.get(key).ok_or_else(|| not_looked_up("an idempotency key"))?.as_ref())
    }

    pub(super) fn catalogue(&self) -> Result<u64, LogError> {
        self.catalogue.ok_or_else(|| not_looked_up("a catalogue"))
    }

    pub(super) fn begun(&self, kind: KindOfTenant) -> Result<u64, LogError> {
        self.begun.get(&kind).copied().ok_or_else(|| not_looked_up("a kind"))
    }

    /// `None` for a hold that is open or never existed.
    pub(super) fn hold(&self, request: RequestId) -> Option<&HoldHistory> {
        self.holds.get(&request)
    }

    /// The windows that ended holds may still move, and that may have been dropped from memory: those of an expired hold,
    /// which an end that comes late corrects, and those of a settled one that is charged anew.
    pub(super) fn movable_windows(&self, wanted: &WantedFacts) -> Vec<BudgetWindow> {
        let expired = self.holds.values().filter_map(|history| history.expired.as_ref());
        let charges = wanted.charges.iter().filter_map(|request| self.hold(*request)?.settled_in.as_ref());
        let windows: IdSet<_> = expired.chain(charges).flat_map(EndedHold::all_windows).copied().collect();
        windows.into_iter().collect()
    }

    /// Takes in an event of the batch.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        if let Some(request) = recorded.context.request_id
            && recorded.stream.kind == StreamKind::Hold
        {
            // An open hold has no history.
            if HoldHistory::is_end(&recorded.event) {
                self.holds.entry(request).or_default().apply(recorded);
            }
        } else if let Some(end) = self.streams.get_mut(&recorded.stream) {
            // An event that is numbered later gets the next sequence.
            let sequence = if recorded.sequence == 0 { end.sequence + 1 } else { recorded.sequence };
            *end = StreamEnd { sequence, position: recorded.position };
        }
        if recorded.sequence == 1
            && let Some(begun) =
                self.begun.get_mut(&KindOfTenant { kind: recorded.stream.kind, tenant: recorded.context.tenant_id })
        {
            *begun = recorded.position;
        }
    }

    /// Takes in a side row of the batch.
    pub(super) fn apply_row(&mut self, row: &SideRow) {
        match row {
            SideRow::ClaimName { name, owner } => self.names.insert(name.clone(), Some(owner.clone())),
            SideRow::ReleaseNames { owner } => self.names.release(owner),
            SideRow::DropSealedSecretsWithin { kind, scope } => self.names.release_within(*kind, scope),
            SideRow::Catalogue { replaces, .. } => self.catalogue = Some(replaces + 1),
            SideRow::PersonalData(_)
            | SideRow::ErasePersonalData(_)
            | SideRow::EraseClientAddresses(_)
            | SideRow::KeySecret(_)
            | SideRow::KeyMac(_)
            | SideRow::DropKeySecrets { .. }
            | SideRow::SealedSecret(_)
            | SideRow::DropSealedSecret { .. }
            | SideRow::DropContentKeys(_)
            | SideRow::WrappedKey { .. }
            | SideRow::DropWrappedKey { .. }
            | SideRow::Node(_)
            | SideRow::DropNode { .. }
            | SideRow::TenantKey(_)
            | SideRow::DropTenantKey { .. }
            | SideRow::DropTenantSecrets(_)
            | SideRow::DropPartnerSecrets(_)
            | SideRow::ClientAddress(_) => {}
        }
    }
}

pub(super) fn not_looked_up(what: &str) -> LogError {
    LogError::Append(format!("{what} that was not looked up"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Otherwise a name could be claimed twice, a stream could begin again, and a repeated request could be charged twice.
    #[test]
    fn a_fact_that_was_not_looked_up_is_an_error_and_not_an_absence() {
        let stream = Stream::new(StreamKind::Budget, "b");
        let name = Name { kind: StreamKind::Model, scope: "s".to_owned(), name: "n".to_owned() };
        let reply = ReplyKey { scope: "s".to_owned(), key: "k".to_owned() };
        let claim = ClaimedKey { tenant: Uuid::from_u128(1).into(), key: "k".to_owned() };
        let nothing = Facts::default();
        for error in [
            nothing.stream(&stream).err(),
            nothing.owner(&name).err(),
            nothing.reply(&reply).err(),
            nothing.claim(&claim).err(),
            nothing.catalogue().err(),
            nothing.begun(KindOfTenant { kind: StreamKind::Budget, tenant: None }).err(),
        ] {
            let error = error.expect("nothing was looked up");
            assert!(
                matches!(&error, LogError::Append(message) if message.ends_with("that was not looked up")),
                "{error}"
            );
        }
        let absent = Facts {
            streams: HashMap::from([(stream.clone(), StreamEnd::default())]),
            names: NameOwners { owners: HashMap::from([(name.clone(), None)]), ..NameOwners::default() },
            replies: HashMap::from([(reply.clone(), None)]),
            claims: HashMap::from([(claim.clone(), None)]),
            ..Facts::default()
        };
        assert_eq!(absent.stream(&stream).expect("looked up"), StreamEnd::default());
        assert_eq!(absent.owner(&name).expect("looked up"), None);
        assert!(absent.reply(&reply).expect("looked up").is_none());
        assert!(absent.claim(&claim).expect("looked up").is_none());
    }

    /// The meaning of the row, by a look at all names.
    fn apply_by_scan(names: &mut HashMap<Name, Option<String>>, row: &SideRow) {
        let released = |name: &Name, holder: &Option<String>| match row {
            SideRow::ReleaseNames { owner } => holder.as_ref() == Some(owner),
            SideRow::DropSealedSecretsWithin { kind, scope } => name.kind == *kind && name.scope == *scope,
            _ => false,
        };
        names.iter_mut().filter(|(name, holder)| released(name, holder)).for_each(|(_, holder)| *holder = None);
        if let SideRow::ClaimName { name, owner } = row {
            names.insert(name.clone(), Some(owner.clone()));
        }
    }

    fn a_name() -> impl Strategy<Value = Name> {
        let kind = prop_oneof![Just(StreamKind::Model), Just(StreamKind::ProviderKey)];
        (kind, "[ab]", "[a-c]").prop_map(|(kind, scope, name)| Name { kind, scope, name })
    }

    fn a_row() -> impl Strategy<Value = SideRow> {
        prop_oneof![
            4 => (a_name(), "[x-z]").prop_map(|(name, owner)| SideRow::ClaimName { name, owner }),
            3 => "[x-z]".prop_map(|owner| SideRow::ReleaseNames { owner }),
            1 => a_name().prop_map(|Name { kind, scope, .. }| SideRow::DropSealedSecretsWithin { kind, scope }),
        ]
    }

    proptest! {
        #[test]
        fn names_have_the_owners_that_a_look_at_all_of_them_finds(
            found in prop::collection::hash_map(a_name(), prop::option::of("[x-z]"), 0..8),
            rows in prop::collection::vec(a_row(), 1..40),
        ) {
            let (mut facts, mut expected) = (Facts::default(), found.clone());
            found.into_iter().for_each(|(name, owner)| facts.names.insert(name, owner));
            for row in &rows {
                facts.apply_row(row);
                apply_by_scan(&mut expected, row);
                prop_assert_eq!(&facts.names.owners, &expected);
            }
        }
    }
}
