//! In which order providers are checked, and when there is no time left. Those that all tenants share come first. Tenants' own
//! providers get the places that are left: one of each tenant at a time, in turns, so that a tenant with many slow providers takes
//! no time from the others.

use std::collections::{BTreeMap, VecDeque};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use events::event::admin::Provider;
use events::ids::TenantId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::report::CheckedProvider;

/// The most providers that are checked. Any others are counted.
const PROVIDERS_MAX: usize = 200;
/// The most providers that are checked at the same time.
const AT_A_TIME_MAX: usize = 8;
/// How long the check of a provider that all tenants share may take.
const SHARED_MAX: Duration = Duration::from_secs(20);
/// How long the check of a tenant's own provider may take.
const OWN_MAX: Duration = Duration::from_secs(10);
/// How long all of them may take.
const WHOLE_MAX: Duration = Duration::from_secs(60);

/// How long the check of a provider may take.
pub const fn longest_check(provider: &Provider) -> Duration {
    if provider.tenant_id.is_none() { SHARED_MAX } else { OWN_MAX }
}

/// The providers to check, in the order of their turns.
#[derive(Default)]
pub struct Schedule {
    shared: VecDeque<Arc<Provider>>,
    /// The tenants that have a provider to check and none that is being checked, the next one first.
    tenants: VecDeque<(TenantId, VecDeque<Arc<Provider>>)>,
    /// The other providers of tenants of which one is being checked.
    waiting: BTreeMap<TenantId, VecDeque<Arc<Provider>>>,
}

impl Schedule {
    /// A schedule of at most [`PROVIDERS_MAX`] of them, and the number of those left out.
    pub fn of(providers: Vec<Arc<Provider>>) -> (Self, usize) {
        let count = providers.len();
        let mut all = Self::new(providers);
        let mut chosen = Vec::new();
        while chosen.len() < PROVIDERS_MAX
            && let Some(provider) = all.next()
        {
            all.checked(&provider);
            chosen.push(provider);
        }
        let left_out = count - chosen.len();
        (Self::new(chosen), left_out)
    }

    fn new(mut providers: Vec<Arc<Provider>>) -> Self {
        providers.sort_by(|one, other| (&one.name, one.provider_id).cmp(&(&other.name, other.provider_id)));
        let mut schedule = Self::default();
        let mut tenants: BTreeMap<TenantId, VecDeque<Arc<Provider>>> = BTreeMap::new();
        for provider in providers {
            match provider.tenant_id {
                None => schedule.shared.push_back(provider),
                Some(tenant) => tenants.entry(tenant).or_default().push_back(provider),
            }
        }
        schedule.tenants = tenants.into_iter().collect();
        schedule
    }

    /// The next provider; `None` if there is none, or while the tenants of all others wait for one that is being checked.
    fn next(&mut self) -> Option<Arc<Provider>> {
        if let Some(shared) = self.shared.pop_front() {
            return Some(shared);
        }
        let (tenant, mut own) = self.tenants.pop_front()?;
        let provider = own.pop_front()?;
        self.waiting.insert(tenant, own);
        Some(provider)
    }

    /// The provider's tenant may have another turn.
    fn checked(&mut self, provider: &Provider) {
        let Some(tenant) = provider.tenant_id else { return };
        if let Some(own) = self.waiting.remove(&tenant).filter(|own| !own.is_empty()) {
            self.tenants.push_back((tenant, own));
        }
    }

    /// The providers that have had no turn.
    fn left(self) -> impl Iterator<Item = Arc<Provider>> {
        let own = self.tenants.into_iter().map(|(_, own)| own).chain(self.waiting.into_values());
        self.shared.into_iter().chain(own.flatten())
    }

    /// Checks the providers, and returns what was found by tenant and name, those of all tenants first. `check` gets its deadline
    /// and has to keep it. A provider whose turn has not come before the time is up is passed to `left`.
    pub async fn run<C, F>(
        mut self,
        check: C,
        left: impl Fn(&Provider) -> CheckedProvider,
    ) -> Vec<(Arc<Provider>, CheckedProvider)>
    where
        C: Fn(Arc<Provider>, Instant) -> F,
        F: Future<Output = CheckedProvider> + Send + 'static,
    {
        let deadline = Instant::now() + WHOLE_MAX;
        // Dropping the set, as a client does that leaves, ends every check.
        let (mut running, mut checked) = (JoinSet::new(), Vec::new());
        loop {
            while running.len() < AT_A_TIME_MAX
                && Instant::now() < deadline
                && let Some(provider) = self.next()
            {
                let until = Instant::now() + longest_check(&provider);
                let checking = check(Arc::clone(&provider), deadline.min(until));
                running.spawn(async move { (provider, checking.await) });
            }
            match running.join_next().await {
                Some(Ok((provider, found))) => {
                    self.checked(&provider);
                    checked.push((provider, found));
                }
                // No report without a provider that should be in it.
                Some(Err(error)) if error.is_panic() => resume_unwind(error.into_panic()),
                Some(Err(_)) | None => break,
            }
        }
        checked.extend(self.left().map(|provider| {
            let found = left(&provider);
            (provider, found)
        }));
        let order = |provider: &Provider| (provider.tenant_id, provider.name.clone(), provider.provider_id);
        checked.sort_by_cached_key(|(provider, _)| order(provider));
        checked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use events::event::admin::ProviderKindName;
    use tokio::time::sleep_until;

    use super::*;
    use crate::doctor::report::{Check, Finding};

    fn provider(number: u128, tenant: Option<u128>) -> Arc<Provider> {
        let id = format!("prv_{number:032x}").parse().expect("an id");
        let tenant_id = tenant.map(|tenant| format!("ten_{tenant:032x}").parse().expect("an id"));
        let kind = ProviderKindName::literal("openai");
        Arc::new(Provider { tenant_id, ..Provider::new(id, format!("p{number:04}"), kind) })
    }

    fn many(numbers: std::ops::Range<u128>, tenant: Option<u128>) -> Vec<Arc<Provider>> {
        numbers.map(|number| provider(number, tenant)).collect()
    }

    /// The names of those that were checked, in the order of their turns, and of those that had no turn.
    async fn run(providers: Vec<Arc<Provider>>, slow: Option<u128>) -> (Vec<String>, Vec<String>) {
        let (schedule, _) = Schedule::of(providers);
        let begun = Arc::new(Mutex::new(Vec::new()));
        let slow = slow.map(|tenant| format!("ten_{tenant:032x}").parse::<TenantId>().expect("an id"));
        let (began, whole) = (Arc::clone(&begun), Instant::now());
        let all = schedule.run(
            |provider, until| {
                began.lock().expect("a lock").push(provider.name.clone());
                async move {
                    if slow.is_some() && provider.tenant_id == slow {
                        sleep_until(until).await;
                    }
                    CheckedProvider::new(&provider, vec![Finding::ok(Check::Connection, "checked")])
                }
            },
            |provider| CheckedProvider::new(provider, vec![Finding::not_checked(Check::Connection, "no time")]),
        );
        let all = all.await;
        assert!(whole.elapsed() <= WHOLE_MAX);
        let is_left = |checked: &CheckedProvider| serde_json::to_string(checked).expect("JSON").contains("no time");
        let left = all.iter().filter(|(_, checked)| is_left(checked)).map(|(provider, _)| provider.name.clone());
        let left = left.collect();
        let begun = begun.lock().expect("a lock").clone();
        (begun, left)
    }

    /// Holds: admin.doctor
    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_many_slow_providers_takes_no_time_from_others() {
        let mut providers = many(0..1000, Some(1));
        providers.extend(many(2000..2040, Some(2)));
        providers.extend(many(3000..3010, None));
        let (begun, left) = run(providers, Some(1)).await;
        assert!(begun[..10].iter().all(|name| name.starts_with("p3")), "those of all tenants come first: {begun:?}");
        assert_eq!(begun.iter().filter(|name| name.starts_with("p2")).count(), 40, "{begun:?}");
        let of_slow = begun.iter().filter(|name| name.starts_with("p0")).count();
        assert_eq!(of_slow as u64, WHOLE_MAX.as_secs() / OWN_MAX.as_secs(), "one at a time");
        assert!(left.len() == 150 - of_slow && left.iter().all(|name| name.starts_with("p0")), "{left:?}");
    }

    #[test]
    fn tenants_have_their_turns_also_in_what_is_left_out() {
        let mut providers = many(0..1000, Some(1));
        providers.extend(many(2000..2005, Some(2)));
        providers.extend(many(3000..3100, None));
        let (schedule, left_out) = Schedule::of(providers);
        let names: Vec<_> = schedule.left().map(|provider| provider.name.clone()).collect();
        let of = |start: &str| names.iter().filter(|name| name.starts_with(start)).count();
        assert_eq!((of("p3"), of("p2"), of("p0"), left_out), (100, 5, 95, 905));
    }
}
