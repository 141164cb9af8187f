//! Whom a budget or a rate limit binds.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::MetadataConditions;
use crate::event::{Chain, Context, ScopeSubject, StreamKind, TeamVersions};
use crate::ids::{KeyId, PartnerId, TeamId, TenantId, UserId};

/// The owner that a budget or a limit binds: exactly one level of the chain, or a team. `{"tenant_id":"ten_…"}` on the wire, `ten_…` as
/// text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "partner_id")]
    Partner(PartnerId),
    #[serde(rename = "tenant_id")]
    Tenant(TenantId),
    #[serde(rename = "team_id")]
    Team(TeamId),
    #[serde(rename = "user_id")]
    User(UserId),
    #[serde(rename = "key_id")]
    Key(KeyId),
}

impl Scope {
    /// The kind of the owner.
    pub const fn kind(self) -> StreamKind {
        match self {
            Self::Partner(_) => StreamKind::Partner,
            Self::Tenant(_) => StreamKind::Tenant,
            Self::Team(_) => StreamKind::Team,
            Self::User(_) => StreamKind::User,
            Self::Key(_) => StreamKind::Key,
        }
    }

    /// Whom a budget or a limit of this scope belongs to, by the context of its event.
    pub const fn owners(self, context: &Context) -> Chain {
        match self {
            Self::Partner(id) => Chain { partner: Some(id), tenant: None, user: None, key: None },
            Self::Tenant(id) => Chain { partner: context.partner_id, tenant: Some(id), user: None, key: None },
            Self::Team(_) => Chain { partner: context.partner_id, tenant: context.tenant_id, user: None, key: None },
            Self::User(_) | Self::Key(_) => context.chain(),
        }
    }

    /// Whether its budgets and limits are above the tenant of a request: those of the partner; and of the user and the key, if the request
    /// is a guest's, of a user of another tenant.
    pub const fn is_above_tenant(self, is_guest: bool) -> bool {
        match self {
            Self::Partner(_) => true,
            Self::User(_) | Self::Key(_) => is_guest,
            Self::Tenant(_) | Self::Team(_) => false,
        }
    }

    /// The owners whose budgets and limits bind requests of a chain that count for these teams, from the widest to the narrowest.
    pub fn all_of<'a>(chain: &Chain, teams: &'a TeamVersions) -> impl DoubleEndedIterator<Item = Self> + use<'a> {
        let wide = [chain.partner.map(Self::Partner), chain.tenant.map(Self::Tenant)];
        let narrow = [chain.user.map(Self::User), chain.key.map(Self::Key)];
        let teams = teams.keys().copied().map(Self::Team);
        wide.into_iter().flatten().chain(teams).chain(narrow.into_iter().flatten())
    }

    /// Whether it binds this request.
    pub fn binds(self, request: &ScopeSubject<'_>) -> bool {
        let chain = &request.chain;
        match self {
            Self::Partner(id) => chain.partner == Some(id),
            Self::Tenant(id) => chain.tenant == Some(id),
            Self::Team(id) => request.teams.contains_key(&id),
            Self::User(id) => chain.user == Some(id),
            Self::Key(id) => chain.key == Some(id),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partner(id) => id.fmt(f),
            Self::Tenant(id) => id.fmt(f),
            Self::Team(id) => id.fmt(f),
            Self::User(id) => id.fmt(f),
            Self::Key(id) => id.fmt(f),
        }
    }
}

/// The scope of a budget or a limit: the requests of an owner, or only those for a model, or with metadata.
/// `{"tenant_id":"ten_…","model":"large","metadata.project":"apollo"}` on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NarrowedScope {
    pub owner: Scope,
    /// `None` binds all requests of the owner. Boxed, since most scopes are not narrowed.
    pub narrowing: Option<Box<Narrowing>>,
}

/// The conditions that a request must meet, all of them; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Narrowing {
    /// A model by its frontend name: requests for it, and for the aliases that stand for it.
    pub model: Option<String>,
    pub metadata: MetadataConditions,
}

impl NarrowedScope {
    /// The member with the model's name.
    pub const MODEL: &'static str = "model";
    /// The prefix of the names of members with metadata.
    pub const METADATA: &'static str = "metadata.";

    /// The members with an owner, of which a scope has exactly one.
    pub const OWNERS: [&'static str; 5] = ["partner_id", "tenant_id", "team_id", "user_id", "key_id"];

    /// The most names of metadata, and the most members: an owner, a model and these.
    pub const METADATA_MAX: usize = 4;
    pub const MEMBERS_MAX: usize = 2 + Self::METADATA_MAX;

    /// The member with the owner, in the JSON of a scope.
    pub fn owner_in(scope: &Value) -> Option<(&'static str, &str)> {
        Self::OWNERS.iter().find_map(|name| Some((*name, scope.get(name)?.as_str()?)))
    }

    /// All requests of an owner.
    pub const fn of(owner: Scope) -> Self {
        Self { owner, narrowing: None }
    }

    /// Only the requests of an owner that meet the conditions; all of them if there is none.
    pub fn narrowed(owner: Scope, conditions: Narrowing) -> Self {
        let is_none = conditions.model.is_none() && conditions.metadata.is_empty();
        Self { owner, narrowing: (!is_none).then(|| Box::new(conditions)) }
    }

    pub const fn kind(&self) -> StreamKind {
        self.owner.kind()
    }

    /// Whom a budget or a limit of this scope belongs to, by the context of its event.
    pub const fn owners(&self, context: &Context) -> Chain {
        self.owner.owners(context)
    }

    pub fn binds(&self, request: &ScopeSubject<'_>) -> bool {
        self.owner.binds(request) && self.includes(request)
    }

    /// Whether a request of the owner meets the conditions.
    pub fn includes(&self, request: &ScopeSubject<'_>) -> bool {
        self.narrowing.as_ref().is_none_or(|conditions| conditions.hold(request))
    }
}

impl Narrowing {
    fn hold(&self, request: &ScopeSubject<'_>) -> bool {
        let has =
            |(name, value): (&str, &str)| request.metadata.get(name).is_some_and(|of_request| of_request == value);
        self.model.as_ref().is_none_or(|model| request.is_for(model)) && self.metadata.iter().all(has)
    }
}

impl From<Scope> for NarrowedScope {
    fn from(owner: Scope) -> Self {
        Self::of(owner)
    }
}

/// `ten_…`, or `ten_… with model large and metadata.project apollo`.
impl fmt::Display for NarrowedScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.narrowing {
            None => self.owner.fmt(f),
            Some(conditions) => write!(f, "{} with {conditions}", self.owner),
        }
    }
}

/// `model large and metadata.project apollo`.
impl fmt::Display for Narrowing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = self.model.iter().map(|model| format!("{} {model}", NarrowedScope::MODEL));
        let of = |(name, value): (&str, &str)| format!("{}{name} {value}", NarrowedScope::METADATA);
        f.write_str(&model.chain(self.metadata.iter().map(of)).collect::<Vec<_>>().join(" and "))
    }
}

impl Serialize for NarrowedScope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(conditions) = &self.narrowing else { return self.owner.serialize(serializer) };
        let mut members = serializer.serialize_map(None)?;
        match self.owner {
            Scope::Partner(id) => members.serialize_entry("partner_id", &id)?,
            Scope::Tenant(id) => members.serialize_entry("tenant_id", &id)?,
            Scope::Team(id) => members.serialize_entry("team_id", &id)?,
            Scope::User(id) => members.serialize_entry("user_id", &id)?,
            Scope::Key(id) => members.serialize_entry("key_id", &id)?,
        }
        if let Some(model) = &conditions.model {
            members.serialize_entry(Self::MODEL, model)?;
        }
        for (name, value) in conditions.metadata.iter() {
            members.serialize_entry(&format!("{}{name}", Self::METADATA), value)?;
        }
        members.end()
    }
}

impl<'de> Deserialize<'de> for NarrowedScope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ScopeMembers)
    }
}

/// Reads the members of a scope, in any order.
struct ScopeMembers;

impl<'de> Visitor<'de> for ScopeMembers {
    type Value = NarrowedScope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one of partner_id, tenant_id, team_id, user_id, key_id, and conditions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<NarrowedScope, A::Error> {
        let (mut owners, mut model, mut metadata) = (Vec::new(), None, BTreeMap::new());
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "partner_id" => owners.push(Scope::Partner(members.next_value()?)),
                "tenant_id" => owners.push(Scope::Tenant(members.next_value()?)),
                "team_id" => owners.push(Scope::Team(members.next_value()?)),
                "user_id" => owners.push(Scope::User(members.next_value()?)),
                "key_id" => owners.push(Scope::Key(members.next_value()?)),
                NarrowedScope::MODEL => model = Some(members.next_value()?),
                name => {
                    let Some(name) = name.strip_prefix(NarrowedScope::METADATA) else {
                        return Err(A::Error::custom(format!("{name} is not a member of a scope")));
                    };
                    metadata.insert(name.to_owned(), members.next_value()?);
                }
            }
        }
        match owners[..] {
            [owner] => {
                let metadata = metadata.into_iter().collect();
                Ok(NarrowedScope::narrowed(owner, Narrowing { model, metadata }))
            }
            _ => Err(A::Error::custom("a scope has exactly one of partner_id, tenant_id, team_id, user_id, key_id")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "ten_00000000000000000000000000000001";

    fn read(json: serde_json::Value) -> Result<NarrowedScope, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scope_is_read_as_it_is_written() {
        let whole = json!({ "tenant_id": TENANT });
        let narrowed =
            json!({ "tenant_id": TENANT, "model": "large", "metadata.a.b": "x", "metadata.project": "apollo" });
        for json in [whole, narrowed] {
            let scope = read(json.clone()).expect("a scope");
            assert_eq!(serde_json::to_value(&scope).expect("JSON"), json);
        }
        let scope = read(json!({ "metadata.project": "apollo", "model": "large", "tenant_id": TENANT }));
        assert_eq!(
            scope.map(|scope| scope.to_string()),
            Ok(format!("{TENANT} with model large and metadata.project apollo"))
        );
        assert_eq!(read(json!({ "tenant_id": TENANT })).map(|scope| scope.narrowing), Ok(None));
    }

    #[test]
    fn a_scope_has_one_owner_and_known_members() {
        for wrong in [
            json!({}),
            json!({ "model": "large" }),
            json!({ "tenant_id": TENANT, "key_id": "key_00000000000000000000000000000001" }),
            json!({ "tenant_id": TENANT, "modell": "large" }),
            json!({ "tenant_id": TENANT, "model": 5 }),
        ] {
            read(wrong.clone()).expect_err(&wrong.to_string());
        }
    }
}
