//! The content that may be absent from its store: its tenant keeps or kept content for a number of days that are over, or has ended.

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use content_store::ContentAddress;
use events::event::admin::Tenant;
use events::event::{Change, Event, Resource};
use events::ids::TenantId;
use events_log::{LogError, Reader};

/// The content that may have been deleted, as the events say.
#[derive(Default)]
pub struct Deletions {
    /// The `content_days` of each tenant that has them.
    days: HashMap<TenantId, u32>,
    /// The first day whose content must still be there, of each tenant whose earlier content may have been deleted.
    must_be_kept_since: HashMap<TenantId, NaiveDate>,
    /// The position at which the node's key was lost, and all keys of content with it; 0 if it never was.
    pub keys_lost_at: u64,
    /// The position up to which the events were read.
    position: u64,
}

impl Deletions {
    /// Reads the changes of tenants that it has not read yet, up to now.
    pub fn catch_up(&mut self, reader: &dyn Reader, now: DateTime<Utc>) -> Result<(), LogError> {
        let head = reader.head()?.position;
        for recorded in reader.administration_after(self.position)? {
            self.position = recorded.position;
            match &recorded.event {
                Event::Resource(Resource::Tenant(change)) => self.apply(change, recorded.recorded_at.date_naive()),
                Event::Resource(Resource::NodeKeyReplaced(replaced)) if replaced.previous.is_none() => {
                    self.keys_lost_at = recorded.position;
                }
                _ => {}
            }
        }
        self.position = self.position.max(head);
        let tenants: Vec<TenantId> = self.days.keys().copied().collect();
        tenants.into_iter().for_each(|tenant| self.extend_expired(tenant, now.date_naive()));
        Ok(())
    }

    fn apply(&mut self, change: &Change<Tenant>, day: NaiveDate) {
        let id = change.id();
        self.extend_expired(id, day);
        let Some(tenant) = change.state() else {
            // Whoever operates the store may delete the content of a tenant that has ended: nobody opens it.
            self.must_be_kept_since.insert(id, NaiveDate::MAX);
            return;
        };
        self.days.remove(&id);
        self.days.extend(tenant.content_days.filter(|_| !tenant.legal_hold).map(|days| (id, days)));
    }

    /// Lets the content of a tenant be absent whose days are over by this day.
    fn extend_expired(&mut self, tenant: TenantId, day: NaiveDate) {
        let since = self.days.get(&tenant).and_then(|days| day.checked_sub_days(Days::new((*days).into())));
        if let Some(since) = since {
            let known = self.must_be_kept_since.entry(tenant).or_insert(since);
            *known = since.max(*known);
        }
    }

    /// Whether the object at this address may have been deleted.
    pub fn allows_absence_of(&self, address: &ContentAddress) -> bool {
        let since = self.must_be_kept_since.get(&address.tenant);
        since.is_some_and(|since| address.admitted_at.date_naive() < *since)
    }
}

#[cfg(test)]
mod tests {
    use events::content::ContentPart;
    use events::time::parse_rfc3339;

    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("a day")
    }

    fn tenant() -> Tenant {
        let id = "ten_00000000000000000000000000000001".parse().expect("an id");
        Tenant::new(id, "par_00000000000000000000000000000002".parse().expect("an id"), "t")
    }

    fn allows_absence(deletions: &Deletions, of: &str) -> bool {
        deletions.allows_absence_of(&ContentAddress {
            tenant: tenant().tenant_id,
            admitted_at: parse_rfc3339(&format!("{of}T23:59:59Z")).expect("a time"),
            request: "req_00000000000000000000000000000003".parse().expect("an id"),
            part: ContentPart::Prompt,
        })
    }

    #[test]
    fn days_that_were_over_once_are_not_missed_later() {
        let mut deletions = Deletions::default();
        let change = |days, legal_hold| Change::changed(Tenant { content_days: days, legal_hold, ..tenant() });
        deletions.apply(&change(Some(30), true), day("2026-01-01"));
        deletions.apply(&change(Some(30), false), day("2026-06-01"));
        assert!(!allows_absence(&deletions, "2020-01-01"), "it was held");
        deletions.apply(&change(None, false), day("2026-07-31"));
        deletions.extend_expired(tenant().tenant_id, day("2027-01-01"));
        assert!(allows_absence(&deletions, "2026-06-30") && !allows_absence(&deletions, "2026-07-01"));
        deletions.apply(&Change::Ended(tenant().tenant_id), day("2027-01-01"));
        assert!(allows_absence(&deletions, "2026-12-31"));
    }
}
