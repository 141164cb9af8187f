//! The bounds of what one owner may have. How much a tenant or a partner may have of each kind is in the table of
//! [`ResourceBound`], and the platform changes it by the field `bounds`; the constants here bound what others look through for one
//! request. All are counted in the tables, which lack what is being recorded now. So the keys of a tenant create and change one thing
//! after the other on a node; what others do at the same instant, or what is sent to another node, can exceed a bound by what one
//! request creates.

use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use events::event::admin::{KindBound, ResourceBound, Scope, bounded_owner};
use events::event::{Chain, StreamKind};
use events::ids::TenantId;
use events::limit::{AdministrationMeasure, LimitName, LimitReached, LimitedMeasure};
use events::refusal::{ErrorCode, Refusal, retry_after_seconds};
use events::time::rfc3339;
use projections::tables::Tables;
use serde_json::json;

use super::fields::FieldError;

/// The live budgets, or rate limits, that bind all requests of an owner.
pub const BINDING_ALL_MAX: usize = 16;
/// The live budgets, or rate limits, of an owner under one condition: all of them may bind one request.
pub const NARROWED_MAX: usize = 32;
/// The live keys of a provider: a request looks at each of them.
pub const KEYS_OF_PROVIDER_MAX: usize = 100;
/// The live prices of a provider's model: a request looks at each of them.
pub const PRICES_OF_BACKEND_MAX: usize = 500;
/// The bytes of a resource's state in one event: with the event's other members they fit in a message of NATS, which takes 1 MiB
/// unless it is told otherwise.
const STATE_BYTES_MAX: u64 = 950_000;

/// The bound of an owner that a command would exceed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct BoundReached {
    pub bound: ResourceBound,
    pub owner: Scope,
    pub limit: u64,
    pub used: u64,
    /// Text for people: the bound that was reached, and what to do.
    pub reason: String,
}

/// Errors: the tenant or partner that a new resource of this kind belongs to has as many as it may have.
pub fn require_room(tables: &Tables, kind: StreamKind, owners: &Chain) -> Result<(), BoundReached> {
    let KindBound::By(bound) = KindBound::of(kind) else { return Ok(()) };
    let Some(owner) = bounded_owner(kind, owners) else { return Ok(()) };
    let (limit, used) = (tables.bound(owner, bound), tables.used(owner, bound));
    if used < limit {
        return Ok(());
    }
    let reason = format!(
        "the {} {owner} has no room for more {} ({used} of at most {limit}): delete some of them, or ask the platform to raise \
         `{bound}` in its `bounds`",
        owner.kind().in_text(),
        bound.in_text()
    );
    Err(BoundReached { bound, owner, limit, used, reason })
}

/// The bytes of a resource's state, before and after a command.
#[derive(Clone, Copy)]
pub struct StateBytes {
    pub before: u64,
    pub after: u64,
}

/// Errors: the state of a resource is longer than one event may have it, whoever asks.
pub fn require_one_event(kind: StreamKind, bytes: u64) -> Result<(), FieldError> {
    if bytes <= STATE_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "the {} would have {bytes} bytes in its event and may have {STATE_BYTES_MAX}: shorten its texts and lists",
        kind.in_text()
    );
    Err(FieldError::new("", reason))
}

/// Errors: the states of the live resources of the tenant or partner would have more bytes than they may have.
pub fn require_room_for_bytes(
    tables: &Tables,
    kind: StreamKind,
    owners: &Chain,
    bytes: StateBytes,
) -> Result<(), BoundReached> {
    let KindBound::By(_) = KindBound::of(kind) else { return Ok(()) };
    let Some(owner) = bounded_owner(kind, owners) else { return Ok(()) };
    let bound = ResourceBound::AdminBytesKept;
    let (limit, used) = (tables.bound(owner, bound), tables.used(owner, bound));
    let StateBytes { before, after } = bytes;
    if after <= before || used.saturating_sub(before).saturating_add(after) <= limit {
        return Ok(());
    }
    let reason = format!(
        "the {} {owner} has no room for {} more bytes of its resources ({used} of at most {limit}): delete some of them, or ask the \
         platform to raise `{bound}` in its `bounds`",
        owner.kind().in_text(),
        after.saturating_sub(before)
    );
    Err(BoundReached { bound, owner, limit, used, reason })
}

/// The creations and changes by the keys of a tenant would have more bytes on this day than they may have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the keys of the tenant {tenant} have written {written} bytes of creations and changes today and may write {limit}: wait until the \
     next day in UTC, or ask the platform to raise `admin_bytes_per_day` in the tenant's `bounds`"
)]
pub struct BytesOfDayReached {
    tenant: TenantId,
    limit: u64,
    written: u64,
    now: DateTime<Utc>,
}

impl BytesOfDayReached {
    const MEASURE: AdministrationMeasure = AdministrationMeasure::BytesPerDay;

    pub const fn limit_reached(&self) -> LimitReached {
        let measure = LimitedMeasure::Administration(Self::MEASURE);
        LimitReached { name: LimitName::BuiltIn, measure, limit: self.limit }
    }

    pub fn refusal(&self) -> Refusal {
        let resets_at = self.now.date_naive().succ_opt().map_or(self.now, |day| day.and_time(NaiveTime::MIN).and_utc());
        let wait = (resets_at - self.now).to_std().unwrap_or(Duration::ZERO);
        Refusal::new(ErrorCode::RateLimited, self.to_string())
            .with("limit_id", LimitName::BuiltIn.to_string())
            .with("scope", json!(Scope::Tenant(self.tenant)))
            .with("measure", Self::MEASURE.as_str())
            .with("limit", self.limit)
            .with("retry_after", retry_after_seconds(wait))
            .with("resets_at", rfc3339(resets_at))
            .retry_after(wait)
    }
}

/// Errors: the tenant of a key has written as much today as it may write.
pub fn require_bytes_of_day(
    tables: &Tables,
    tenant: TenantId,
    bytes: u64,
    now: DateTime<Utc>,
) -> Result<(), BytesOfDayReached> {
    let limit = tables.bound(Scope::Tenant(tenant), ResourceBound::AdminBytesPerDay);
    let written = tables.bytes_written(tenant, now.date_naive());
    if written.saturating_add(bytes) <= limit {
        return Ok(());
    }
    Err(BytesOfDayReached { tenant, limit, written, now })
}

/// Errors: so many bind all requests of the owner of a budget or a rate limit already.
pub fn require_room_beside(owner: Scope, binding_all: usize, bound: ResourceBound) -> Result<(), BoundReached> {
    if binding_all < BINDING_ALL_MAX {
        return Ok(());
    }
    let reason = format!(
        "the {} {owner} has no room for more {what} for all of its requests ({binding_all} of at most {BINDING_ALL_MAX}): delete one \
         of them, or narrow this one to a model or to metadata",
        owner.kind().in_text(),
        what = bound.in_text()
    );
    let (limit, used) = (BINDING_ALL_MAX as u64, binding_all as u64);
    Err(BoundReached { bound, owner, limit, used, reason })
}

#[cfg(test)]
mod tests {
    use events::event::admin::Team;

    use super::*;
    use crate::admin::resource_kind;

    /// Holds: admin.bounds
    #[test]
    fn every_kind_of_resource_has_a_bound() {
        for kind in resource_kind::ALL {
            assert_ne!(KindBound::of(kind.kind), KindBound::NoResource, "{}", kind.path);
        }
    }

    fn with_commas(number: u64) -> String {
        let digits = number.to_string();
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
        groups.join(",")
    }

    /// Holds: admin.bounds
    #[test]
    fn the_page_of_limits_has_the_bounds_of_the_code_and_no_others() {
        let page = include_str!("../../../docs/limits.md");
        let (_, section) = page.split_once("\n## Resources\n").expect("the section");
        let rows: Vec<Vec<String>> = section
            .lines()
            .take_while(|line| !line.starts_with("## "))
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.split('|').skip(1).take(3).map(|cell| cell.trim().replace('`', "")).collect())
            .collect();
        let cell =
            |binds: bool, bound: ResourceBound| if binds { with_commas(bound.default_max()) } else { String::new() };
        let known: Vec<Vec<String>> = ResourceBound::ALL
            .iter()
            .map(|bound| {
                let (tenants, partners) = (cell(bound.binds_tenants(), *bound), cell(bound.binds_partners(), *bound));
                vec![bound.to_string(), tenants, partners]
            })
            .collect();
        assert_eq!(rows, known);
        for of_one in [
            format!("{BINDING_ALL_MAX} budgets"),
            format!("{NARROWED_MAX} budgets"),
            format!("{KEYS_OF_PROVIDER_MAX} provider keys"),
            format!("{PRICES_OF_BACKEND_MAX} prices"),
            format!("{} users", with_commas(Team::USERS_MAX as u64)),
            format!("{} teams", Team::TEAMS_OF_USER_MAX),
            format!("{} bytes", with_commas(STATE_BYTES_MAX)),
        ] {
            assert!(section.contains(&of_one), "{of_one}");
        }
    }
}
