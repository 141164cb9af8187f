//! Which tenants this node serves: `all`, or tenants separated by commas, by id or as `PARTNER/TENANT`. A slug alone names none:
//! it is unique only among the tenants of one partner, and administrators of another one could make it mean several.

use std::collections::BTreeSet;
use std::fmt;

use events::event::Chain;
use events::event::admin::{Partner, is_slug};
use events::ids::{PartnerId, TenantId};
use projections::tables::{Entry, Tables};
use secrets::ServedTenants;

const ALL: &str = "all";
const NAMES_MAX: usize = 1_000;
/// The most characters of a wrong name that are shown.
const SHOWN_MAX: usize = 64;

/// The tenants as they are named in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedNames {
    All,
    Some(Vec<ServedName>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedName {
    Id(TenantId),
    /// The partner by slug or id, the tenant by slug.
    Slug {
        partner: String,
        tenant: String,
    },
}

impl ServedNames {
    /// Empty means all. The error is a problem with the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || text == ALL {
            return Ok(Self::All);
        }
        let names = text.split(',').map(|name| ServedName::parse(name.trim())).collect::<Result<Vec<_>, _>>()?;
        if names.len() > NAMES_MAX {
            return Err(format!("names more than {NAMES_MAX} tenants"));
        }
        Ok(Self::Some(names))
    }

    /// The tenants that have these names now. A slug that moves to another tenant later does not move what this node serves.
    /// A name that no tenant has is warned of: who may name tenants must not decide whether a node starts.
    pub fn resolve(&self, tables: &Tables) -> ServedTenants {
        let Self::Some(names) = self else { return ServedTenants::All };
        let mut tenants = BTreeSet::new();
        for name in names {
            let found = name.tenant(tables);
            let is_live = found.and_then(|id| tables.chain_of_tenant(id)).is_some_and(|it| tables.owners_are_live(&it));
            if !is_live {
                tracing::warn!(%name, "LEDGERWAY_SERVES_TENANTS names a tenant that does not exist or has ended");
            }
            tenants.extend(found);
        }
        ServedTenants::only(tenants)
    }
}

impl ServedName {
    fn parse(name: &str) -> Result<Self, String> {
        if let Ok(id) = name.parse() {
            return Ok(Self::Id(id));
        }
        let is_partner = |partner: &str| is_slug(partner) || partner.parse::<PartnerId>().is_ok();
        match name.split_once('/') {
            Some((partner, tenant)) if is_partner(partner) && is_slug(tenant) => {
                Ok(Self::Slug { partner: partner.to_owned(), tenant: tenant.to_owned() })
            }
            _ => {
                let shown: String = name.chars().take(SHOWN_MAX).collect();
                Err(format!("has {shown:?}, which is neither the id of a tenant nor PARTNER/TENANT"))
            }
        }
    }

    /// The tenant of this name. By id, it may be any tenant, so that a mistake gives up no copy of a key; by slug, it must be a live tenant
    /// of a live partner.
    fn tenant(&self, tables: &Tables) -> Option<TenantId> {
        let (partner, slug) = match self {
            Self::Id(id) => return Some(*id),
            Self::Slug { partner, tenant } => (partner, tenant),
        };
        let is_named = |named: &Entry<Partner>| {
            named.value.handles.slug.as_ref() == Some(partner) || named.value.partner_id.to_string() == *partner
        };
        let mut live = tables.tenants_with_slug(slug).filter(|chain| tables.owners_are_live(chain));
        let of_partner = |chain: &Chain| chain.partner.and_then(|id| tables.partner(id)).is_some_and(is_named);
        live.find(of_partner)?.tenant
    }
}

impl fmt::Display for ServedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Slug { partner, tenant } => write!(f, "{partner}/{tenant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use events::event::admin::{Handles, Tenant};
    use events::event::{Actor, Change, Context, Event, Recorded, Stream, StreamKind};
    use events::time::parse_rfc3339;

    use super::*;

    const ID: &str = "ten_00000000000000000000000000000007";

    /// Holds: bin.wrong-configuration
    #[test]
    fn tenants_are_named_by_id_or_with_their_partner() {
        for all in ["", " ", "all"] {
            assert_eq!(ServedNames::parse(all), Ok(ServedNames::All), "{all:?}");
        }
        let slug = |partner: &str| ServedName::Slug { partner: partner.to_owned(), tenant: "acme".to_owned() };
        let partner = "par_00000000000000000000000000000001";
        let named = vec![slug("north"), slug(partner), ServedName::Id(ID.parse().expect("an id"))];
        let text = format!("north/acme,{partner}/acme, {ID}");
        assert_eq!(ServedNames::parse(&text), Ok(ServedNames::Some(named)));
        let (long, too_long) = ("a".repeat(63), "a".repeat(64));
        assert!(ServedNames::parse(&format!("{long}/{long}")).is_ok());
        for wrong in [
            "acme",
            "a/b,",
            ",",
            "all,a/b",
            "a/B",
            "ten_7",
            "a b",
            "-a/b",
            "a/",
            "/a",
            "a/b/c",
            "ten_7/a",
            "a/b;c",
            &format!("a/{ID}"),
            &format!("a/{too_long}"),
            &format!("{too_long}/a"),
        ] {
            let problem = ServedNames::parse(wrong).expect_err(wrong);
            assert!(problem.contains("neither the id of a tenant nor PARTNER/TENANT"), "{problem}");
        }
        assert!(ServedNames::parse(&vec!["a/b"; 1001].join(",")).is_err());
    }

    fn partner_id(number: u8) -> PartnerId {
        format!("par_{number:032}").parse().expect("an id")
    }

    fn tenant_id(number: u8) -> TenantId {
        format!("ten_{number:032}").parse().expect("an id")
    }

    fn partner(number: u8, slug: &str) -> Event {
        let handles = Handles { slug: Some(slug.into()), external_id: None };
        Event::from(Change::created(Partner { handles, ..Partner::new(partner_id(number), "P") }))
    }

    fn acme(number: u8, partner: u8) -> Event {
        let handles = Handles { slug: Some("acme".into()), external_id: None };
        Event::from(Change::created(Tenant { handles, ..Tenant::new(tenant_id(number), partner_id(partner), "T") }))
    }

    fn served(names: &str, facts: &[Event]) -> ServedTenants {
        let mut tables = Tables::default();
        for (position, event) in (1_u64..).zip(facts) {
            tables.fold(&Recorded {
                position,
                recorded_at: parse_rfc3339("2026-11-20T12:00:00Z").expect("a time") + Duration::from_secs(position),
                stream: Stream::new(StreamKind::Tenant, position),
                sequence: 1,
                context: Context::of(Actor::Operator),
                event: event.clone(),
            });
        }
        ServedNames::parse(names).expect("names").resolve(&tables)
    }

    /// Holds: keys.served-names
    #[test]
    fn a_slug_means_the_live_tenant_of_its_partner_and_no_namesake_of_another() {
        let mut facts = vec![partner(1, "north"), partner(2, "south"), acme(11, 1), acme(12, 2)];
        let only = |numbers: &[u8]| ServedTenants::only(numbers.iter().map(|number| tenant_id(*number)));
        assert_eq!(served("north/acme", &facts), only(&[11]));
        assert_eq!(served(&format!("{}/acme", partner_id(2)), &facts), only(&[12]));
        assert_eq!(served("north/acme, south/acme", &facts), only(&[11, 12]));
        for nobody in ["north/other", "east/acme", "acme/north"] {
            assert_eq!(served(nobody, &facts), only(&[]), "{nobody}");
        }
        facts.push(Change::<Tenant>::Ended(tenant_id(11)).into());
        assert_eq!(served("north/acme", &facts), only(&[]));
        assert_eq!(served(&format!("{}, {ID}", tenant_id(11)), &facts), only(&[11, 7]), "copies of keys are kept");
        // A partner that has ended leaves its slug to another one, whose tenants may have any slug.
        facts.push(Change::<Partner>::Ended(partner_id(2)).into());
        assert_eq!(served("south/acme", &facts), only(&[]));
        facts.extend([partner(3, "south"), acme(13, 3)]);
        assert_eq!(served("south/acme", &facts), only(&[13]));
    }
}
