//! A data folder with a month of traffic, built views, and a tenant that was created after the traffic.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use command::admin::setup::ensure_default_tenancy;
use events::ids::{IdMaker, SystemRandom};
use events::time::SystemClock;
use events_log::Log;
use harness::admin::Admin;
use harness::gateway::Gateway;
use serde_json::json;

use crate::kept;

const MONTH: Duration = Duration::from_secs(30 * 86_400);
const NODE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The file with the secret of the tenant's key.
const SECRET: &str = "bench.key";
const PERMISSIONS: [&str; 4] = ["models:use", "usage:read", "events:read", "audit:read"];
pub const MODEL: &str = "fast";

pub struct Folder {
    pub events: u64,
    pub path: PathBuf,
    /// The secret of the tenant's key.
    pub secret: String,
}

impl Folder {
    /// The folder with about this many events; it is made if it does not exist.
    pub fn of(root: &Path, events: u64) -> io::Result<Self> {
        let path = kept::log(&root.join("scale"), events, MONTH, begin)?;
        let gateway = start(&path);
        gateway.wait_until_ready();
        let known = path.join(SECRET);
        if !known.exists() {
            fs::write(&known, set_up(gateway.admin()))?;
        }
        gateway.admin().wait_for_views();
        Ok(Self { events, secret: fs::read_to_string(known)?, path })
    }

    pub fn start_gateway(&self) -> Gateway {
        start(&self.path)
    }
}

fn start(data: &Path) -> Gateway {
    Gateway::start_on(env!("CARGO_BIN_EXE_ledgerway"), data, NODE_KEY)
}

/// Records the default tenancy, with which every gateway's log begins. A log without it would get a new one at every start.
fn begin(log: &Log) {
    let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    // On another thread, because the caller runs in a runtime.
    let record = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(ensure_default_tenancy(log, &ids, &[])).expect("the default tenancy")
    };
    std::thread::scope(|scope| scope.spawn(record).join()).expect("a thread that ends");
}

/// Creates the tenant, with a budget, and a model that the simulator serves. Returns the secret of the tenant's key.
fn set_up(admin: Admin) -> String {
    let tenant = admin.create_tenant("bench");
    let key = admin.create_key(&tenant.user, &PERMISSIONS);
    let provider = admin.create("/providers", &json!({ "name": "bench", "kind": "simulator" }))["id"].clone();
    let price = json!({ "provider_id": provider, "model": "echo", "input_usd_per_mtok": "0.1",
                        "output_usd_per_mtok": "0.4" });
    admin.create("/prices", &price);
    let target = json!({ "provider_id": provider, "model": "echo", "priority": 0, "weight": 1, "context_window": 8192,
                         "max_output_tokens": 1024, "default_max_output_tokens": 256 });
    admin.create("/models", &json!({ "name": MODEL, "strategy": "priority", "targets": [target] }));
    let budget = json!({ "scope": { "tenant_id": tenant.id }, "limit_usd": "1000000", "period": "month" });
    admin.create("/budgets", &budget);
    key.secret
}
