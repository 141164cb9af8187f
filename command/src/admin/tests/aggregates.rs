//! A witness from outside: the event repository of `postgres-es` finds each resource in the state that the gateway finds it
//! in, without knowing anything of the gateway but the view `ledger.aggregate_events`.

use std::path::Path;
use std::sync::Arc;

use cqrs_es::EventStore;
use cqrs_es::persist::PersistedEventStore;
use events::event::admin::{
    AuditSearch, Budget, Key, Model, Partner, Price, Provider, ProviderKey, RateLimit, Team, Tenant, User,
};
use events::event::{Actor, Chain, Context, Event, Resource};
use events::time::SystemClock;
use events_log::{DatabaseAddress, Log, LogOptions};
use postgres_es::{PostgresEventRepository, default_postgress_pool};
use serde_json::Value;
use testing::postgres::TestDatabase;

use crate::admin::lifecycle::{Lifecycle, Rules};
use crate::admin::store::Loaded;

struct Ledger {
    log: Log,
    // Declared last: it outlives the log in it.
    database: TestDatabase,
}

impl Ledger {
    fn new() -> Self {
        let database = TestDatabase::create();
        let address: DatabaseAddress = database.url().parse().unwrap();
        let options = LogOptions::new(Arc::new(SystemClock::new()));
        // Opening waits for the database, which no thread of async tasks may.
        let log = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                Log::migrate_shared(&address).unwrap();
                Log::open_shared(&address, "node", options).unwrap()
            });
            opening.join().unwrap()
        });
        Self { log, database }
    }

    async fn append<R: Rules>(&self, id: &str, events: Vec<Event>) {
        let loaded = Loaded::<R>::read(&self.log, id).await.unwrap();
        let append = loaded.stored.append_of(events, Context::about(Actor::Operator, Chain::default()));
        loaded.write(&self.log, append).await.unwrap();
    }

    async fn seen_alike_by_both<R: Rules>(&self, id: &str) -> Lifecycle<R> {
        let ours = Loaded::<R>::read(&self.log, id).await.unwrap().lifecycle;
        // With the rights of a gateway.
        let pool = default_postgress_pool(&self.database.gateway_url()).await;
        let repository = PostgresEventRepository::new(pool).with_tables("ledger.aggregate_events", "no_snapshots");
        let store = PersistedEventStore::<_, Lifecycle<R>>::new_event_store(repository);
        let theirs = store.load_aggregate(id).await.unwrap();
        assert_eq!(theirs.aggregate, ours, "{id}");
        ours
    }

    /// Tells the story of a resource with the samples of its events, and compares after each of them.
    async fn told<R: Rules>(&self) {
        let names = Resource::names_on(R::KIND);
        let ([created, changed], [special @ .., ended]) = (&names[..2], &names[2..]) else { panic!("{names:?}") };
        let Event::Resource(first) = sample(created) else { panic!("{created}") };
        let id = first.id();
        assert_eq!(self.seen_alike_by_both::<R>(&id).await, Lifecycle::Absent);
        self.append::<R>(&id, vec![first.clone().into()]).await;
        let at_first = self.seen_alike_by_both::<R>(&id).await;
        self.append::<R>(&id, vec![sample(changed)]).await;
        let after_change = self.seen_alike_by_both::<R>(&id).await;
        // The last of several changes counts.
        let back = decoded(changed, &read(created));
        self.append::<R>(&id, vec![back.clone()]).await;
        assert_eq!(self.seen_alike_by_both::<R>(&id).await, at_first);
        self.append::<R>(&id, vec![back, sample(changed)]).await;
        assert_eq!(self.seen_alike_by_both::<R>(&id).await, after_change);
        for name in special {
            self.append::<R>(&id, vec![sample(name)]).await;
            assert!(matches!(self.seen_alike_by_both::<R>(&id).await, Lifecycle::Live(_)));
        }
        self.append::<R>(&id, vec![sample(ended)]).await;
        assert!(matches!(self.seen_alike_by_both::<R>(&id).await, Lifecycle::Ended(_)));
    }
}

/// The payload of the sample of an event.
fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/events");
    let sample = std::fs::read(folder.join(format!("{name}.v1.json"))).unwrap();
    serde_json::from_slice::<Value>(&sample).unwrap()["data"].to_string()
}

fn decoded(name: &str, payload: &str) -> Event {
    Event::decode(name, 1, payload).unwrap()
}

fn sample(name: &str) -> Event {
    decoded(name, &read(name))
}

#[tokio::test]
async fn the_repository_of_postgres_es_finds_every_resource_as_the_gateway_does() {
    let ledger = Ledger::new();
    ledger.told::<Partner>().await;
    ledger.told::<Tenant>().await;
    ledger.told::<User>().await;
    ledger.told::<Team>().await;
    ledger.told::<Key>().await;
    ledger.told::<Provider>().await;
    ledger.told::<ProviderKey>().await;
    ledger.told::<Model>().await;
    ledger.told::<Price>().await;
    ledger.told::<Budget>().await;
    ledger.told::<RateLimit>().await;
    ledger.told::<AuditSearch>().await;
}
