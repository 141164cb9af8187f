//! A log with its tables and routes, and callers of every reach to send requests as.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use access_control::auth::hashing::KeyHasher;
use access_control::auth::token::Token;
use access_control::auth::{AuthParts, Authenticator};
use axum::Router;
use axum::body::{Body, to_bytes};
use blocking_work::Pool;
use events::event::admin::{Permission, StatedFacts};
use events::event::{Actor, Context, Recorded, Stream, StreamKind};
use events::ids::{IdMaker, SystemRandom};
use events::refusal::{ErrorCode, Refusal};
use events::time::{Clock, ManualClock, parse_rfc3339};
use events_log::concurrency::ConcurrencyLimiter;
use events_log::{Append, Log, LogOptions, SideRow};
use http::{HeaderMap, HeaderValue, Request};
use projections::BackgroundTask;
use projections::caller::{AtPosition, Caller, ClientOrigin};
use projections::tables;
use secrets::{EnvironmentKeys, NodeKey, Secret, Vault};
use serde_json::Value;
use tempfile::TempDir;
use tower_service::Service;

use crate::admin::setup::{DefaultTenancy, ensure_default_tenancy};
use crate::admin::{AdminState, ImportQueue, routes};
use crate::body::memory::{BodyBounds, BodyMemory};

pub const OPERATOR_KEY: &str = "operator-key-of-the-tests-0123456789";

pub struct Lab {
    pub folder: TempDir,
    pub clock: Arc<ManualClock>,
    pub admin: AdminState,
    pub tenancy: DefaultTenancy,
    pub auth: Authenticator,
    router: Router,
    _tables_task: BackgroundTask,
}

pub struct Reply {
    pub status: u16,
    pub body: Value,
    pub refusal: Option<Refusal>,
    pub position: Option<u64>,
}

const NODE_KEY: [u8; 32] = [5; 32];

impl Lab {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(parse_rfc3339("2026-11-20T08:00:00Z").unwrap()));
        let port: Arc<dyn Clock> = clock.clone();
        let log = Log::open(folder.path(), LogOptions::new(port.clone())).unwrap();
        let ids = IdMaker::new(port.clone(), Arc::new(SystemRandom));
        let tenancy = ensure_default_tenancy(&log, &ids, &[]).await.unwrap();
        let (tables, tables_task) = tables::start(&log).await.unwrap();
        let node_key = NodeKey::from_bytes(&NODE_KEY);
        // One hash at a time for each tenant.
        let hasher = KeyHasher::new(Box::leak(Box::new(Pool::new("test", 3).with_owners(1))));
        let key_check = node_key.derived_key_check();
        let vault = Vault::new(node_key, log.clone(), ids.clone(), EnvironmentKeys::default());
        let bodies = BodyMemory::new(BodyBounds::of_administration());
        let concurrency = ConcurrencyLimiter::default();
        // Imports are carried out by the environment, which is not here.
        let (imports, _) = ImportQueue::new();
        let admin = AdminState {
            log,
            tables,
            clock: port,
            ids,
            key_check,
            hasher,
            vault,
            bodies,
            concurrency,
            imports,
            catalogued: Arc::new(|_, _| StatedFacts::UNKNOWN),
            publishes_log: true,
            keeps_content: true,
        };
        let auth = door(&admin, &tenancy);
        let (router, _) = routes(admin.clone()).into_parts();
        Self { folder, clock, admin, tenancy, auth, router, _tables_task: tables_task }
    }

    /// The key that seals its secrets.
    pub fn node_key(&self) -> NodeKey {
        NodeKey::from_bytes(&NODE_KEY)
    }

    /// An authenticator with an empty cache.
    pub fn new_door(&self) -> Authenticator {
        door(&self.admin, &self.tenancy)
    }

    pub fn operator(&self) -> Arc<Caller> {
        Arc::new(Caller::operator(self.tenancy.chain()))
    }

    pub async fn send(&self, caller: &Arc<Caller>, method: &str, path: &str, body: &Value) -> Reply {
        self.request(caller, method, path, body.to_string().into_bytes(), json_type()).await
    }

    pub async fn request(
        &self,
        caller: &Arc<Caller>,
        method: &str,
        path: &str,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).body(Body::from(body)).unwrap();
        *request.headers_mut() = headers;
        let origin = ClientOrigin { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), user_agent: Some("tests".into()) };
        let extensions = request.extensions_mut();
        extensions.insert(Arc::clone(caller));
        extensions.insert(origin);
        extensions.insert(self.admin.ids.make::<events::ids::RequestId>());
        let mut response = self.router.clone().call(request).await.unwrap();
        let refusal: Option<Refusal> = response.extensions_mut().remove();
        let position = response.extensions().get::<AtPosition>().map(|at| at.0);
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Reply { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null), refusal, position }
    }

    /// Creates a resource as the operator, and returns its id.
    pub async fn make(&self, path: &str, body: Value) -> String {
        self.made(path, body).await["id"].as_str().unwrap().to_owned()
    }

    /// Creates a resource as the operator, and returns it.
    pub async fn made(&self, path: &str, body: Value) -> Value {
        self.send(&self.operator(), "POST", &format!("/v1/admin{path}"), &body).await.must(201)
    }

    /// The caller that a key authenticates.
    pub async fn caller(&self, secret: &str) -> Result<Arc<Caller>, ErrorCode> {
        self.auth.authenticate(&bearer(secret)).await.map_err(|refusal| refusal.code)
    }

    /// A caller with a new key of a new user with these roles in `tenant`.
    pub async fn key(&self, tenant: &str, roles: Value, permissions: &[Permission]) -> Arc<Caller> {
        let user = serde_json::json!({ "tenant_id": tenant, "name": "someone", "roles": roles });
        let user = self.make("/users", user).await;
        let key = serde_json::json!({ "user_id": user, "name": "key", "permissions": permissions });
        let key = self.made("/keys", key).await;
        self.caller(key["secret"].as_str().unwrap()).await.unwrap()
    }

    /// Stores the slow hash of a key's first secret in the place of its HMAC, as versions before HMACs did.
    pub async fn store_slow_hash(&self, secret: &str) {
        let token = Token::parse(secret).unwrap();
        let hasher = &self.admin.hasher;
        let stored = hasher.hash(None, token.key_id, 1, token.secret, &self.admin.ids).await.unwrap();
        let nothing = Append::new(Stream::new(StreamKind::Key, "none"), 0, Vec::new(), Context::of(Actor::Operator));
        self.admin.log.append(Append { side: vec![SideRow::KeySecret(stored)], ..nothing }).await.unwrap();
    }

    pub async fn events(&self) -> Vec<Recorded> {
        self.admin.log.read(|reader| reader.after(0, 10_000)).await.unwrap()
    }

    pub fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Reply {
    #[track_caller]
    pub fn must(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?} {}", self.refusal, self.body);
        self.body
    }

    #[track_caller]
    pub fn refused(self) -> Refusal {
        self.refusal.unwrap_or_else(|| panic!("{} is no refusal: {}", self.status, self.body))
    }

    /// The field that a 400 names.
    #[track_caller]
    pub fn wrong_field(self) -> String {
        let refusal = self.refused();
        assert_eq!(refusal.code, ErrorCode::InvalidRequest, "{refusal:?}");
        refusal.details["field"].as_str().unwrap().to_owned()
    }
}

fn door(admin: &AdminState, tenancy: &DefaultTenancy) -> Authenticator {
    Authenticator::new(AuthParts {
        key_check: admin.key_check.clone(),
        operator_key: Secret::new(OPERATOR_KEY),
        operator_chain: tenancy.chain(),
        log: admin.log.clone(),
        tables: admin.tables.clone(),
        clock: Arc::clone(&admin.clock),
        hasher: admin.hasher.clone(),
    })
}

pub fn json_type() -> HeaderMap {
    HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

pub fn bearer(secret: &str) -> HeaderMap {
    HeaderMap::from_iter([(http::header::AUTHORIZATION, format!("Bearer {secret}").parse().unwrap())])
}
