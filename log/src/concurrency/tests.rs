use events::limit::{LimitName, LimitedMeasure};
use uuid::Uuid;

use super::*;

fn key(tenant: u128, number: u128) -> Requester {
    Requester::TenantKey {
        key: KeyId::from(Uuid::from_u128(100 * tenant + number)),
        tenant: TenantId::from(Uuid::from_u128(tenant)),
    }
}

/// Admits `number` queries, none of which may have to wait.
async fn run(limiter: &ConcurrencyLimiter, requester: Requester, number: usize) -> Vec<QueryPermit> {
    let mut permits = Vec::new();
    for _ in 0..number {
        let began = Instant::now();
        permits.push(limiter.admit_query(requester).await.expect("a turn"));
        assert_eq!(began.elapsed(), Duration::ZERO, "{requester:?}");
    }
    permits
}

/// The error that a query is refused with, and how long it waited.
async fn refused(limiter: &ConcurrencyLimiter, requester: Requester) -> (NoRoom, Duration) {
    let began = Instant::now();
    match limiter.admit_query(requester).await {
        Ok(_) => panic!("{requester:?} has its turn"),
        Err(no_room) => (no_room, began.elapsed()),
    }
}

fn limited(holder: Holder, measure: BuiltInMeasure, limit: u64) -> NoRoom {
    NoRoom::Limited { holder, measure, limit }
}

fn key_of(requester: Requester) -> Holder {
    match requester {
        Requester::Operator => Holder::Operator,
        Requester::PlatformKey(key) | Requester::TenantKey { key, .. } => Holder::Key(key),
    }
}

const QUERIES: BuiltInMeasure = BuiltInMeasure::ConcurrentQueries;

/// Holds: query.fair
#[tokio::test(start_paused = true)]
async fn a_key_leaves_room_for_its_tenants_others_and_a_tenant_for_other_tenants() {
    let limiter = ConcurrencyLimiter::default();
    let (first, second) = (key(1, 1), key(1, 2));
    let of_first = run(&limiter, first, 2).await;
    assert_eq!(refused(&limiter, first).await, (limited(key_of(first), QUERIES, 2), OWN_WAIT_MAX));
    let _of_second = run(&limiter, second, 1).await;
    let tenant = Holder::Tenant(TenantId::from(Uuid::from_u128(1)));
    assert_eq!(refused(&limiter, second).await, (limited(tenant, QUERIES, 3), OWN_WAIT_MAX));
    let _of_another = run(&limiter, key(2, 1), 1).await;
    drop(of_first);
    let _again = run(&limiter, second, 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_platform_waits_for_no_tenant() {
    let limiter = ConcurrencyLimiter::default();
    let _of_tenants = [run(&limiter, key(1, 1), 2).await, run(&limiter, key(2, 1), 2).await];
    assert_eq!(refused(&limiter, key(3, 1)).await, (NoRoom::Busy, OTHERS_WAIT_MAX));
    let auditor = Requester::PlatformKey(KeyId::from(Uuid::from_u128(900)));
    let _of_auditor = run(&limiter, auditor, 2).await;
    assert_eq!(refused(&limiter, auditor).await.0, limited(key_of(auditor), QUERIES, 2));
    let _of_operator = run(&limiter, Requester::Operator, 1).await;
}

#[tokio::test(start_paused = true)]
async fn another_tenant_waits_behind_one_tenants_share_at_most() {
    let limiter = ConcurrencyLimiter::default();
    let mut running = run(&limiter, key(1, 1), 2).await;
    running.extend(run(&limiter, key(2, 1), 2).await);
    // A crowd of keys of one tenant comes first, then another tenant; each query takes a tenth of a second.
    let order = Arc::<std::sync::Mutex<Vec<u128>>>::default();
    let mut asking = tokio::task::JoinSet::new();
    for (tenant, number) in (0..40).map(|number| (3, number)).chain([(4, 0)]) {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        asking.spawn(async move {
            if let Ok(_permit) = limiter.admit_query(key(tenant, number)).await {
                order.lock().expect("the order").push(tenant);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        tokio::task::yield_now().await;
    }
    drop(running);
    asking.join_all().await;
    let order = order.lock().expect("the order").clone();
    let at = order.iter().position(|tenant| *tenant == 4).expect("its turn");
    assert!(at <= TENANT.queries, "{order:?}");
    assert!(order.len() > 10, "the others had theirs: {order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_cannot_be_joined() {
    let limiter = ConcurrencyLimiter::default();
    let running = run(&limiter, key(1, 1), 2).await;
    let mut waiting: Vec<_> = (2..KEY.queue_len).map(|_| Box::pin(limiter.admit_query(key(1, 1)))).collect();
    for turn in &mut waiting {
        assert!(tokio::time::timeout(Duration::ZERO, turn).await.is_err(), "it waits");
    }
    let mut beyond = Box::pin(refused(&limiter, key(1, 1)));
    assert!(tokio::time::timeout(Duration::ZERO, &mut beyond).await.is_err(), "nobody is refused at once");
    // All of them leave, and the next query has its turn.
    drop((running, waiting));
    let _again = run(&limiter, key(1, 1), 2).await;
    assert_eq!(beyond.await, (limited(key_of(key(1, 1)), QUERIES, 2), OWN_WAIT_MAX));
}

/// Holds: query.fair
#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_read_gets_no_more_and_does_not_hold_up_others() {
    let limiter = ConcurrencyLimiter::default();
    let unread = limiter.count_unread(key(1, 1), KEY.unread_bytes);
    let measure = BuiltInMeasure::UnreadBytes;
    let of_key = limited(key_of(key(1, 1)), measure, KEY.unread_bytes as u64);
    assert_eq!(refused(&limiter, key(1, 1)).await, (of_key, OWN_WAIT_MAX));
    let more = limiter.count_unread(key(1, 2), TENANT.unread_bytes - KEY.unread_bytes);
    let tenant = Holder::Tenant(TenantId::from(Uuid::from_u128(1)));
    let of_tenant = limited(tenant, measure, TENANT.unread_bytes as u64);
    assert_eq!(refused(&limiter, key(1, 3)).await, (of_tenant, OWN_WAIT_MAX));
    // All tenants together are above their bound: those that have read everything are still served.
    let _others = limiter.count_unread(key(2, 1), TENANTS_UNREAD_BYTES_MAX);
    let _of_third = run(&limiter, key(3, 1), 1).await;
    let _little = limiter.count_unread(key(3, 1), 1);
    assert_eq!(refused(&limiter, key(3, 1)).await, (NoRoom::Busy, OTHERS_WAIT_MAX));
    drop((unread, more));
    let _read = run(&limiter, key(1, 1), 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_may_leave_four_mib_unread_a_tenant_eight_and_all_tenants_64() {
    let refused = async |limiter: &ConcurrencyLimiter, requester| refused(limiter, requester).await.0;
    let measure = BuiltInMeasure::UnreadBytes;
    let limiter = ConcurrencyLimiter::default();
    let _of_first = limiter.count_unread(key(1, 1), 4_194_303);
    drop(run(&limiter, key(1, 1), 1).await);
    let _one_more = limiter.count_unread(key(1, 1), 1);
    assert_eq!(refused(&limiter, key(1, 1)).await, limited(key_of(key(1, 1)), measure, 4_194_304));
    let _of_second = limiter.count_unread(key(1, 2), 4_194_303);
    drop(run(&limiter, key(1, 3), 1).await);
    let _one_more = limiter.count_unread(key(1, 2), 1);
    let tenant = Holder::Tenant(TenantId::from(Uuid::from_u128(1)));
    assert_eq!(refused(&limiter, key(1, 3)).await, limited(tenant, measure, 8_388_608));
    let limiter = ConcurrencyLimiter::default();
    let _of_others = limiter.count_unread(key(1, 1), 67_108_862);
    let _own = limiter.count_unread(key(2, 1), 1);
    drop(run(&limiter, key(2, 1), 1).await);
    let _one_more = limiter.count_unread(key(1, 1), 1);
    assert_eq!(refused(&limiter, key(2, 1)).await, NoRoom::Busy);
}

/// Holds: query.fair
#[tokio::test(start_paused = true)]
async fn streams_and_commands_are_bounded_and_the_operators_commands_are_not() {
    let limiter = ConcurrencyLimiter::default();
    let mut streams = Vec::new();
    for _ in 0..KEY.streams {
        streams.push(limiter.open_stream(key(1, 1)).await.expect("a stream"));
    }
    let no_room = limited(key_of(key(1, 1)), BuiltInMeasure::EventStreams, KEY.streams as u64);
    let began = Instant::now();
    assert_eq!(limiter.open_stream(key(1, 1)).await.err(), Some(no_room));
    assert_eq!(began.elapsed(), OWN_WAIT_MAX);
    drop(streams);
    assert!(limiter.open_stream(key(1, 1)).await.is_ok());
    let mut commands = Vec::new();
    for _ in 0..KEY.commands {
        commands.push(limiter.admit_command(key(1, 1)).await.expect("a command"));
    }
    let no_room = limited(key_of(key(1, 1)), BuiltInMeasure::ConcurrentCommands, KEY.commands as u64);
    assert_eq!(limiter.admit_command(key(1, 1)).await.err(), Some(no_room));
    assert!(limiter.admit_command(key(1, 2)).await.is_ok());
    for _ in 0..1000 {
        commands.push(limiter.admit_command(Requester::Operator).await.expect("a command"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_stops_waiting_leaves_the_queue() {
    let limiter = ConcurrencyLimiter::default();
    let running = run(&limiter, key(1, 1), 2).await;
    for _ in 0..100 {
        let waited = tokio::time::timeout(Duration::from_millis(1), limiter.admit_query(key(1, 1))).await;
        assert!(waited.is_err());
    }
    drop(running);
    let _again = run(&limiter, key(1, 1), 2).await;
    for tenant in 10..2000 {
        drop(run(&limiter, key(tenant, 1), 1).await);
    }
    assert!(limiter.shared.accounts.len() < 1000, "{}", limiter.shared.accounts.len());
    assert_eq!(
        refused(&limiter, key(1, 1)).await.0,
        limited(key_of(key(1, 1)), QUERIES, 2),
        "an account in use is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_tenant_makes_one_change_at_a_time_and_others_do_not_wait_for_it() {
    let limiter = ConcurrencyLimiter::default();
    let own = limiter.admit_change(key(1, 1)).await.expect("a turn");
    let began = Instant::now();
    let tenant = Holder::Tenant(TenantId::from(Uuid::from_u128(1)));
    let no_room = limited(tenant, BuiltInMeasure::ConcurrentCommands, 1);
    assert_eq!(limiter.admit_change(key(1, 2)).await.err(), Some(no_room));
    assert_eq!(began.elapsed(), OWN_WAIT_MAX);
    let platform = Requester::PlatformKey(KeyId::from(Uuid::from_u128(900)));
    let mut of_others = Vec::new();
    for other in [key(2, 1), platform, platform, Requester::Operator, Requester::Operator] {
        let began = Instant::now();
        of_others.push(limiter.admit_change(other).await.expect("a turn"));
        assert_eq!(began.elapsed(), Duration::ZERO, "{other:?}");
    }
    drop(own);
    assert!(limiter.admit_change(key(1, 2)).await.is_ok());
}

/// Holds: query.fair
#[tokio::test(start_paused = true)]
async fn an_end_does_not_wait_for_commands_that_have_all_places_of_its_tenant() {
    let limiter = ConcurrencyLimiter::default();
    let mut commands = Vec::new();
    for number in 0..TENANT.commands as u128 {
        commands.push(limiter.admit_command(key(1, 1 + number % 2)).await.expect("a command"));
    }
    let tenant = Holder::Tenant(TenantId::from(Uuid::from_u128(1)));
    let no_room = limited(tenant, BuiltInMeasure::ConcurrentCommands, TENANT.commands as u64);
    assert_eq!(limiter.admit_command(key(1, 3)).await.err(), Some(no_room));
    let began = Instant::now();
    let mut ends = Vec::new();
    for _ in 0..KEY.commands {
        ends.push(limiter.admit_end(key(1, 3)).await.expect("an end"));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    let no_room = limited(key_of(key(1, 3)), BuiltInMeasure::ConcurrentCommands, KEY.commands as u64);
    assert_eq!(limiter.admit_end(key(1, 3)).await.err(), Some(no_room));
}

#[test]
fn a_refusal_names_the_holder_and_when_to_retry() {
    let tenant = TenantId::from(Uuid::from_u128(1));
    let refusal = limited(Holder::Tenant(tenant), QUERIES, 3).refusal();
    assert_eq!(
        (refusal.code, refusal.retry_after),
        (events::refusal::ErrorCode::RateLimited, Some(Duration::from_secs(1)))
    );
    let details = serde_json::json!({
        "limit_id": "built_in", "scope": { "tenant_id": tenant }, "measure": "concurrent_queries", "limit": 3,
        "retry_after": 1, "resets_at": null,
    });
    assert_eq!(serde_json::Value::from(refusal.details), details);
    let reached = limited(Holder::Tenant(tenant), QUERIES, 3).limit_reached().expect("the tenant's own");
    assert_eq!(
        (reached.name, reached.measure, reached.limit),
        (LimitName::BuiltIn, LimitedMeasure::BuiltIn(QUERIES), 3)
    );
    assert_eq!(NoRoom::Busy.limit_reached(), None);
    for (holder, name) in
        [(Holder::Operator, "the operator's key"), (key_of(key(1, 1)), "a key"), (Holder::Tenant(tenant), "a tenant")]
    {
        for (measure, state) in [
            (QUERIES, "runs 3 queries"),
            (BuiltInMeasure::ConcurrentCommands, "has 3 commands"),
            (BuiltInMeasure::EventStreams, "keeps 3 event streams"),
            (BuiltInMeasure::UnreadBytes, "has 3 bytes"),
        ] {
            let message = limited(holder, measure, 3).refusal().message;
            assert!(message.starts_with(&format!("{name} {state}")), "{message}");
        }
    }
    assert_eq!(NoRoom::Busy.refusal().code.as_str(), "QUERY_TIMEOUT");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn queries_run_on_threads_of_a_lower_priority_and_a_panic_loses_only_its_own_query() {
    let priority = || rustix::process::getpriority_process(None).expect("a priority");
    let limiter = ConcurrencyLimiter::default();
    for _ in 0..TENANTS_QUERIES_MAX + PLATFORM_QUERIES_MAX {
        let permit = limiter.admit_query(Requester::Operator).await.expect("a turn");
        assert_eq!(permit.run(|| panic!("on purpose")).await, Err::<(), _>(QueryLost));
    }
    let permit = limiter.admit_query(Requester::Operator).await.expect("a turn");
    assert_eq!(permit.run(priority).await, Ok((priority() + 10).min(19)));
}
