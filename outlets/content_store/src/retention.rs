//! Deletes sealed content that its tenants keep no longer. One process at a time does it, by a lease.

use std::time::Duration;

use chrono::{Days, NaiveDate};
use events::ids::TenantId;
use events_log::backoff::Backoff;
use events_log::role::Role;
use object_storage::StoreError;
use outlets::{AnyOutlet, LeasedRole, Outlet};
use tokio::time::{Instant, sleep};

use crate::figures::ContentFigures;
use crate::store::ContentStore;

/// The pause between two looks at everything.
const PASS_EVERY: Duration = Duration::from_secs(3600);
/// How often the role says that it is not behind the log, which it does not read.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The most names of objects in memory.
const NAMES_MAX: usize = 1000;

/// The retention settings of tenants: see `Tenant::content_days`.
pub struct RetentionRules {
    /// The tenants that keep content for a number of days.
    pub tenants: Box<dyn Fn() -> Vec<TenantId> + Send + Sync>,
    /// For how many days a tenant does; `None` if nothing of it is deleted. Asked again for each object: a legal hold may have begun.
    pub days_of: Box<dyn Fn(TenantId) -> Option<u32> + Send + Sync>,
}

/// The outlet that deletes content.
pub struct ContentRetention {
    pub store: ContentStore,
    pub rules: RetentionRules,
    pub figures: ContentFigures,
}

impl From<ContentRetention> for AnyOutlet {
    fn from(outlet: ContentRetention) -> Self {
        Self::of(outlet)
    }
}

impl Outlet for ContentRetention {
    const ROLE: Role = Role::Content;
    /// They begin anew once everything was looked at.
    const PAUSES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    type Error = StoreError;

    async fn work(&mut self, role: &mut LeasedRole<'_>) -> Result<(), StoreError> {
        loop {
            for tenant in (self.rules.tenants)() {
                let deleted = delete_expired(&self.store, tenant, &self.rules, || today(role)).await?;
                self.figures.count_expired(deleted);
                if deleted > 0 {
                    tracing::info!(%tenant, objects = deleted, "sealed content was deleted after its days");
                }
            }
            role.backoff.reset();
            role.status.working();
            let next = Instant::now() + PASS_EVERY;
            while Instant::now() < next {
                role.status.reached(role.log.head().position);
                sleep(REPORT_EVERY).await;
            }
        }
    }
}

/// `None` once another process may have the role.
fn today(role: &LeasedRole<'_>) -> Option<NaiveDate> {
    role.lease.is_held().then(|| role.clock.now().date_naive())
}

/// Whether content of that day is kept no longer, if it is kept for so many days.
pub fn is_past_retention(day: NaiveDate, days: u32, today: NaiveDate) -> bool {
    today.checked_sub_days(Days::new(days.into())).is_some_and(|first_kept| day < first_kept)
}

/// Deletes the tenant's content of days that are over, as long as `today` says which it is. Returns the number of objects.
async fn delete_expired(
    store: &ContentStore,
    tenant: TenantId,
    rules: &RetentionRules,
    today: impl Fn() -> Option<NaiveDate>,
) -> Result<u64, StoreError> {
    let is_expired =
        |day| today().zip((rules.days_of)(tenant)).is_some_and(|(today, days)| is_past_retention(day, days, today));
    let mut deleted = 0;
    loop {
        let names = store.names_of(tenant, NAMES_MAX, is_expired).await?;
        if names.is_empty() {
            return Ok(deleted);
        }
        for (name, day) in names {
            if !is_expired(day) {
                return Ok(deleted);
            }
            store.delete(&name).await?;
            deleted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use events::content::ContentPart;
    use events::time::parse_rfc3339;

    use super::*;
    use crate::ContentAddress;
    use crate::store::tests::store_in;

    fn tenant(number: u8) -> TenantId {
        format!("ten_{number:032x}").parse().expect("an id")
    }

    #[tokio::test]
    async fn content_is_deleted_when_its_days_are_over_and_not_while_it_is_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store_in(folder.path());
        let address = |number: u8, day: &str| ContentAddress {
            tenant: tenant(number),
            admitted_at: parse_rfc3339(&format!("{day}T23:59:59Z")).expect("a time"),
            request: format!("req_{number:032x}").parse().expect("an id"),
            part: ContentPart::Prompt,
        };
        let all =
            [address(1, "2026-11-20"), address(1, "2026-11-22"), address(1, "2026-11-23"), address(2, "2026-11-20")];
        for address in &all {
            store.put(address, Bytes::from_static(b"object")).await.expect("it is put");
        }
        // 0: nothing is deleted.
        static DAYS: AtomicU32 = AtomicU32::new(0);
        let of = |_| Some(DAYS.load(Ordering::SeqCst)).filter(|days| *days > 0);
        let rules = RetentionRules { tenants: Box::new(Vec::new), days_of: Box::new(of) };
        let today = || NaiveDate::from_ymd_opt(2026, 11, 25);
        for (days, deleted) in [(0, 0), (3, 1), (3, 0), (2, 1), (36_500, 0)] {
            DAYS.store(days, Ordering::SeqCst);
            assert_eq!(delete_expired(&store, tenant(1), &rules, today).await.expect("it deletes"), deleted, "{days}");
        }
        DAYS.store(1, Ordering::SeqCst);
        assert_eq!(
            delete_expired(&store, tenant(1), &rules, || None).await.expect("it deletes"),
            0,
            "without the lease"
        );
        let names = |number| store.names_of(tenant(number), 9, |_| true);
        assert_eq!(
            names(1).await.expect("names").into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
            [all[2].to_string()]
        );
        assert_eq!(names(2).await.expect("names").len(), 1, "of another tenant");
        assert_eq!(names(3).await.expect("names").len(), 0);
    }
}
