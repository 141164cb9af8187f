//! Events of administration. Stream `{kind}-{id}`. Each of the twelve resources is created once, changed while it lives, and
//! ended once. [`Change`] is one of these three for any resource. A resource's other events are variants of their own.
//!
//! `budget.opened`, `budget.changed` and `budget.closed` are in this family. Events that move money are in
//! [`Hold`](super::Hold), although they are called `budget.…` too.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::admin::{
    AuditSearch, BreakerClosed, BreakerOpened, Budget, Key, KeyRotated, Model, Partner, Price, Provider, ProviderKey,
    ProviderKeyRestored, ProviderKeySetAside, RateLimit, Team, Tenant, User, UserErased,
};
use super::catalogue_imported::CatalogueImported;
use super::log_key::LogKeyCreated;
use super::node_key::NodeKeyReplaced;
use super::price_revalued::PriceRevalued;
use super::published_log_repaired::PublishedLogRepaired;
use super::{DecodeError, Event, EventType, SequenceRule, Shown, StreamKind, decode_data};
use crate::ids::{
    AuditSearchId, BudgetId, KeyId, LimitId, ModelId, PartnerId, Prefixed, PriceId, ProviderId, ProviderKeyId, TeamId,
    TenantId, UserId,
};

/// The state of one of the twelve resources, as its events carry it.
pub trait ResourceState: Shown + fmt::Debug + PartialEq + DeserializeOwned + Send + Sync + 'static {
    type Id: Prefixed;
    /// The kind of its stream.
    const KIND: StreamKind;
    /// The field of its id.
    const ID_FIELD: &'static str;
    /// The names and versions of `Created`, `Changed` and `Ended`.
    const LITERALS: [(&'static str, u32); 3];

    fn id(&self) -> Self::Id;

    /// The state as clients see it, with its id in the member `id`.
    fn body(&self) -> Value {
        let mut body = self.members();
        if let Some(id) = body.remove(Self::ID_FIELD) {
            body.insert("id".to_owned(), id);
        }
        body.into()
    }

    fn into_resource(change: Change<Self>) -> Resource;

    /// The change, if the event is one of this resource.
    fn change_in(resource: &Resource) -> Option<&Change<Self>>;

    /// The change, if the event is one of this resource; any other event is returned as it is.
    fn from_resource(resource: Resource) -> Result<Change<Self>, Resource>;
}

/// A change of a resource. The first two carry the whole new state, so that the last of them is the resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<R: ResourceState> {
    Created(Box<R>),
    Changed(Box<R>),
    /// The resource is deleted; its history stays.
    Ended(R::Id),
}

/// The payload of an end.
#[derive(Serialize, Deserialize)]
struct Ended<I> {
    id: I,
}

impl<R: ResourceState> Change<R> {
    pub fn created(state: R) -> Self {
        Self::Created(Box::new(state))
    }

    pub fn changed(state: R) -> Self {
        Self::Changed(Box::new(state))
    }

    pub fn id(&self) -> R::Id {
        match self {
            Self::Created(state) | Self::Changed(state) => state.id(),
            Self::Ended(id) => *id,
        }
    }

    /// The new state; `None` for the end, which has none.
    pub const fn state(&self) -> Option<&R> {
        match self {
            Self::Created(state) | Self::Changed(state) => Some(state),
            Self::Ended(_) => None,
        }
    }

    const fn event_type(&self) -> EventType {
        let [created, changed, ended] = R::LITERALS;
        let ((name, version), sequence_rule) = match self {
            Self::Created(_) => (created, SequenceRule::First),
            Self::Changed(_) => (changed, SequenceRule::Later),
            Self::Ended(_) => (ended, SequenceRule::Later),
        };
        EventType { name, version, sequence_rule }
    }

    fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        match self {
            Self::Created(state) | Self::Changed(state) => crate::compact_json::write(out, state),
            Self::Ended(id) => crate::compact_json::write(out, &Ended { id: *id }),
        }
    }

    fn decode(name: &str, version: u32, payload: &str) -> Option<Result<Self, DecodeError>> {
        let place = R::LITERALS.iter().position(|literal| *literal == (name, version))?;
        Some(match place {
            0 => decode_data(name, version, payload).map(Self::Created),
            1 => decode_data(name, version, payload).map(Self::Changed),
            _ => decode_data(name, version, payload).map(|Ended { id }| Self::Ended(id)),
        })
    }
}

impl<R: ResourceState> From<Change<R>> for Resource {
    fn from(change: Change<R>) -> Self {
        R::into_resource(change)
    }
}

impl<R: ResourceState> From<Change<R>> for Event {
    fn from(change: Change<R>) -> Self {
        Self::Resource(R::into_resource(change))
    }
}

impl From<Resource> for Event {
    fn from(fact: Resource) -> Self {
        Self::Resource(fact)
    }
}

/// Defines the family. Each kind has one row: the type and the field of its id, the event set of its changes, then the names of
/// its events in the order of `/openapi.json`: created, changed, any others, ended. Others name the field or method with the id
/// of their stream. `others` are on streams that belong to no resource.
macro_rules! resources {
    (
        kinds {
            $($kind:ident by $id:ty, $id_field:ident in set $set:literal:
                $created:literal v $created_v:literal, $changed:literal v $changed_v:literal,
                $($(#[$fact_doc:meta])*
                  $fact:ident($data:ty)[$($fact_id:tt)+] $name:literal v $version:literal in set $fact_set:literal
                      at $place:ident,)*
                $ended:literal v $ended_v:literal;)*
        }
        others {
            $($(#[$other_doc:meta])* $other:ident($other_data:ty) on $other_kind:ident by $other_id:ident
                $other_name:literal v $other_v:literal in set $other_set:literal at $other_place:ident;)*
        }
    ) => {
        /// Events of administration.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Resource {
            $($kind(Change<$kind>), $($(#[$fact_doc])* $fact(Box<$data>),)*)*
            $($(#[$other_doc])* $other(Box<$other_data>),)*
        }

        impl Resource {
            /// The prefix of the ids of each kind.
            pub const ID_PREFIXES: &'static [(&'static str, StreamKind)] = &[$((<$id>::PREFIX, StreamKind::$kind),)*];
            /// The name and version of every type.
            pub const TYPES: &'static [(&'static str, u32)] = &[
                $(($created, $created_v), ($changed, $changed_v), $(($name, $version),)* ($ended, $ended_v),)*
                $(($other_name, $other_v),)*
            ];
            /// The event set of every type.
            #[cfg(test)]
            pub(super) const EVENT_SETS: &'static [u32] = &[
                $($set, $set, $($fact_set,)* $set,)*
                $($other_set,)*
            ];

            pub(super) const fn event_set(&self) -> u32 {
                match self {
                    $(Self::$kind(_) => $set, $(Self::$fact(_) => $fact_set,)*)*
                    $(Self::$other(_) => $other_set,)*
                }
            }

            /// The names of the types on streams of this kind.
            pub const fn names_on(kind: StreamKind) -> &'static [&'static str] {
                match kind {
                    $(StreamKind::$kind => &[$created, $changed, $($name,)* $ended],)*
                    $(StreamKind::$other_kind => &[$other_name],)*
                    _ => &[],
                }
            }

            /// [`Shown::left_out`] for resources of this kind.
            pub fn left_out(kind: StreamKind) -> Value {
                match kind {
                    $(StreamKind::$kind => <$kind as Shown>::left_out(),)*
                    _ => Value::Null,
                }
            }

            pub const fn event_type(&self) -> EventType {
                let (name, version, sequence_rule) = match self {
                    $(Self::$kind(change) => return change.event_type(),
                      $(Self::$fact(_) => ($name, $version, SequenceRule::$place),)*)*
                    $(Self::$other(_) => ($other_name, $other_v, SequenceRule::$other_place),)*
                };
                EventType { name, version, sequence_rule }
            }

            /// The kind of its stream.
            pub const fn kind(&self) -> StreamKind {
                match self {
                    $(Self::$kind(_) $(| Self::$fact(_))* => StreamKind::$kind,)*
                    $(Self::$other(_) => StreamKind::$other_kind,)*
                }
            }

            /// The id of its stream.
            pub fn id(&self) -> String {
                match self {
                    $(Self::$kind(change) => change.id().to_string(),
                      $(Self::$fact(fact) => fact.$($fact_id)+.to_string(),)*)*
                    $(Self::$other(fact) => fact.$other_id.to_string(),)*
                }
            }

            pub(super) fn write_payload(&self, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
                match self {
                    $(Self::$kind(change) => change.write_payload(out),
                      $(Self::$fact(data) => crate::compact_json::write(out, data),)*)*
                    $(Self::$other(data) => crate::compact_json::write(out, data),)*
                }
            }

            /// `None` for a type of another family.
            pub(super) fn decode(name: &str, version: u32, payload: &str) -> Option<Result<Self, DecodeError>> {
                $(if let Some(change) = Change::decode(name, version, payload) {
                    return Some(change.map(Self::$kind));
                })*
                Some(match (name, version) {
                    $($(($name, $version) => decode_data(name, version, payload).map(Self::$fact),)*)*
                    $(($other_name, $other_v) => decode_data(name, version, payload).map(Self::$other),)*
                    _ => return None,
                })
            }
        }

        $(impl ResourceState for $kind {
            type Id = $id;
            const KIND: StreamKind = StreamKind::$kind;
            const ID_FIELD: &'static str = stringify!($id_field);
            const LITERALS: [(&'static str, u32); 3] =
                [($created, $created_v), ($changed, $changed_v), ($ended, $ended_v)];

            fn id(&self) -> $id {
                self.$id_field
            }

            fn into_resource(change: Change<Self>) -> Resource {
                Resource::$kind(change)
            }

            fn change_in(resource: &Resource) -> Option<&Change<Self>> {
                match resource {
                    Resource::$kind(change) => Some(change),
                    _ => None,
                }
            }

            fn from_resource(resource: Resource) -> Result<Change<Self>, Resource> {
                match resource {
                    Resource::$kind(change) => Ok(change),
                    other => Err(other),
                }
            }
        })*
    };
}

resources! {
    kinds {
        Partner by PartnerId, partner_id in set 1: "partner.created" v 1, "partner.changed" v 1, "partner.ended" v 1;
        Tenant by TenantId, tenant_id in set 1: "tenant.created" v 1, "tenant.changed" v 1, "tenant.ended" v 1;
        User by UserId, user_id in set 1: "user.created" v 1, "user.changed" v 1,
            /// The texts that the digests of its name and e-mail address stand for are gone. Also after its end.
            UserErased(UserErased)[user_id] "user.erased" v 1 in set 1 at Later,
            "user.ended" v 1;
        Team by TeamId, team_id in set 1: "team.created" v 1, "team.changed" v 1, "team.ended" v 1;
        Key by KeyId, key_id in set 1: "key.created" v 1, "key.changed" v 1,
            /// The key has a new secret; the previous one works until `previous_until`.
            KeyRotated(KeyRotated)[key_id] "key.rotated" v 1 in set 1 at Later,
            "key.revoked" v 1;
        Provider by ProviderId, provider_id in set 1: "provider.created" v 1, "provider.changed" v 1,
            /// One of its models failed again and again: requests go to other targets for a while.
            BreakerOpened(BreakerOpened)[provider_id] "provider.breaker_opened" v 1 in set 1 at Later,
            /// The model has answered again.
            BreakerClosed(BreakerClosed)[provider_id] "provider.breaker_closed" v 1 in set 1 at Later,
            "provider.ended" v 1;
        ProviderKey by ProviderKeyId, provider_key_id in set 1: "provider_key.created" v 1, "provider_key.changed" v 1,
            /// The provider does not accept the key. Also of a provider's own key, whose stream has no other events.
            ProviderKeySetAside(ProviderKeySetAside)[stream_id()] "provider_key.set_aside" v 1 in set 1 at Anywhere,
            /// The provider has accepted the key again.
            ProviderKeyRestored(ProviderKeyRestored)[stream_id()] "provider_key.restored" v 1 in set 1 at Later,
            "provider_key.ended" v 1;
        Model by ModelId, model_id in set 1: "model.created" v 1, "model.changed" v 1, "model.ended" v 1;
        Price by PriceId, price_id in set 1: "price.created" v 1, "price.changed" v 1, "price.ended" v 1;
        Budget by BudgetId, budget_id in set 1: "budget.opened" v 1, "budget.changed" v 1, "budget.closed" v 1;
        RateLimit by LimitId, limit_id in set 1: "rate_limit.created" v 1, "rate_limit.changed" v 1, "rate_limit.ended" v 1;
        AuditSearch by AuditSearchId, audit_search_id in set 1: "audit_search.created" v 1, "audit_search.changed" v 1,
            "audit_search.ended" v 1;
    }
    others {
        /// Secrets at rest are sealed under another node's key from here on. A key that was used before can be used again.
        NodeKeyReplaced(NodeKeyReplaced) on NodeKey by node_key "node_key.replaced" v 1 in set 1 at Anywhere;
        /// Checkpoints of the log are signed with this key from here on.
        LogKeyCreated(LogKeyCreated) on LogKey by origin "log_key.created" v 1 in set 1 at Anywhere;
        /// The requests that a change of a price concerns have its value.
        PriceRevalued(PriceRevalued) on Revaluation by price_id "price.revalued" v 1 in set 1 at Anywhere;
        /// Another catalogue was taken while the gateway ran.
        CatalogueImported(CatalogueImported) on Import by import "catalogue.imported" v 1 in set 1 at First;
        /// Files of the published log that were damaged are as they were.
        PublishedLogRepaired(PublishedLogRepaired) on PublishedLog by origin "published_log.repaired" v 1 in set 1 at Anywhere;
    }
}
