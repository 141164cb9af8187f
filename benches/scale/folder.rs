//! A data folder with a month of traffic in it, its views built, and one key of a tenant of its own that works.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};

use command::admin::setup::ensure_default_tenancy;
use events::ids::{IdMaker, SystemRandom};
use events::log::Log;
use events::time::SystemClock;
use serde_json::{Value, json};

use crate::client::Client;
use crate::kept;
use crate::process::{OPERATOR_KEY, Process};

const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// The secret of the key, once the folder is set up.
const SECRET: &str = "bench.key";
const BUILD_MAX: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);
pub const MODEL: &str = "fast";

pub struct Folder {
    pub events: u64,
    pub path: PathBuf,
    pub secret: String,
}

impl Folder {
    pub fn of(root: &Path, events: u64) -> io::Result<Self> {
        let path = kept::log(&root.join("scale"), events, MONTH, begin)?;
        let process = Process::start(&path)?;
        let mut operator = process.client(OPERATOR_KEY)?;
        let known = path.join(SECRET);
        if !known.exists() {
            fs::write(&known, set_up(&mut operator)?)?;
        }
        await_views(&mut operator)?;
        Ok(Self { events, secret: fs::read_to_string(known)?, path })
    }
}

/// What a gateway has from its first start: a log that does not begin with it would be given another one at every start.
fn begin(log: &Log) {
    let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    // On a thread of its own: the caller is one of a runtime.
    let making = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(ensure_default_tenancy(log, &ids)).expect("the default tenancy")
    };
    std::thread::scope(|scope| scope.spawn(making).join()).expect("a thread that ends");
}

/// Until the views have taken in all there is.
fn await_views(operator: &mut Client) -> io::Result<()> {
    let until = Instant::now() + BUILD_MAX;
    loop {
        let views = operator.get("/v1/projections")?.json();
        let behind = |view: &Value| view["lag_events"] != 0;
        if !views["items"].as_array().expect("views").iter().any(behind) {
            return Ok(());
        }
        assert!(Instant::now() < until, "the views are not built: {views}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The secret of a key under a budget, for a model that the simulator answers.
fn set_up(operator: &mut Client) -> io::Result<String> {
    let partner = make(operator, "partners", &json!({ "name": "bench" }))?["id"].clone();
    let tenant = make(operator, "tenants", &json!({ "partner_id": partner, "name": "bench" }))?["id"].clone();
    let user = json!({ "tenant_id": tenant, "name": "bench", "email": "bench@example.com" });
    let user = make(operator, "users", &user)?["id"].clone();
    let permissions = json!(["models:use", "usage:read", "events:read", "audit:read"]);
    let key = json!({ "user_id": user, "name": "bench", "permissions": permissions });
    let key = make(operator, "keys", &key)?;
    let provider = make(operator, "providers", &json!({ "name": "bench", "kind": "simulator" }))?["id"].clone();
    let price = json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "0.1",
                        "output_usd_per_mtok": "0.4" });
    make(operator, "prices", &price)?;
    let target = json!({ "provider_id": provider, "model": "echo", "priority": 0, "weight": 1, "context_window": 8192,
                         "max_output_tokens": 1024, "default_max_output_tokens": 256 });
    make(operator, "models", &json!({ "name": MODEL, "strategy": "priority", "targets": [target] }))?;
    let budget = json!({ "scope": { "tenant_id": tenant }, "limit_usd": "1000000", "period": "month" });
    make(operator, "budgets", &budget)?;
    Ok(key["secret"].as_str().expect("a secret").to_owned())
}

fn make(operator: &mut Client, kind: &str, body: &Value) -> io::Result<Value> {
    let answer = operator.post(&format!("/v1/admin/{kind}"), body)?;
    assert_eq!(answer.status, 201, "{kind}: {}", answer.body);
    Ok(answer.json())
}
