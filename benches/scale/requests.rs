//! The measured requests: a model call, and queries that read little or much of a folder.

use std::io;

use harness::admin::{Admin, OPERATOR_KEY};
use harness::request;
use serde_json::{Value, json};
use testing::blocking::BlockingWire;

use crate::folder::{Folder, MODEL};

pub struct Request {
    pub name: &'static str,
    bytes: Vec<u8>,
}

impl Request {
    pub fn send(&self, wire: &mut BlockingWire) -> io::Result<()> {
        let (status, body) = wire.ask(&self.bytes)?;
        assert_eq!(status, 200, "{}: {}", self.name, String::from_utf8_lossy(&body));
        Ok(())
    }
}

pub fn all(admin: Admin, folder: &Folder) -> io::Result<Vec<Request>> {
    let first = |path: &str| Ok::<_, io::Error>(admin.get(path)?["items"][0].clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // From the middle, since the newest may belong to the tenant that this benchmark created.
    let inference = first(&format!("/v1/inferences?limit=1&cursor=inferences-{}", folder.events / 2))?;
    let (tenant, key) = (text(&inference["tenant_id"]), text(&inference["key_id"]));
    let (request, begun) = (text(&inference["request_id"]), text(&inference["recorded_at"]));
    let day = begun.split('T').next().unwrap_or_default();
    let budget = text(&first("/v1/budgets?limit=1")?["id"]);
    let (middle, nearly_all) = (folder.events / 2, folder.events.saturating_sub(200));
    let chat =
        json!({ "model": MODEL, "max_tokens": 64, "messages": [{ "role": "user", "content": "Say nine words." }] });
    let chat = request::post("/v1/chat/completions", &folder.secret, chat.to_string().as_bytes());
    let mut requests = vec![Request { name: "request", bytes: chat }];
    let mut get = |name, key: &str, path: String| {
        requests.push(Request { name, bytes: request::with_body("GET", &path, key, b"") });
    };
    let (operator, newest) = (OPERATOR_KEY, folder.secret.as_str());
    get("usage by day", operator, "/v1/usage?group_by=day".into());
    get("usage by day of a tenant", operator, format!("/v1/usage?group_by=day&tenant={tenant}"));
    get("usage by tenant of a day", operator, format!("/v1/usage?group_by=tenant&day={day}"));
    get("usage by day of the newest tenant", newest, "/v1/usage?group_by=day".into());
    get("budgets", operator, "/v1/budgets".into());
    get("budget", operator, format!("/v1/budgets/{budget}"));
    get("inferences", operator, "/v1/inferences".into());
    get("inferences, from the middle", operator, format!("/v1/inferences?cursor=inferences-{middle}"));
    get("inferences of a tenant", operator, format!("/v1/inferences?tenant={tenant}"));
    get("inferences of a key", operator, format!("/v1/inferences?key={key}"));
    get("inferences that failed", operator, "/v1/inferences?status=failed".into());
    get("inferences before a time", operator, format!("/v1/inferences?to={begun}"));
    get("inferences of a model that nobody asked for", operator, "/v1/inferences?model=none".into());
    get("inferences of the newest tenant", newest, "/v1/inferences".into());
    get("inference", operator, format!("/v1/inferences/{request}"));
    get("events, from the beginning", operator, "/v1/events?after=0".into());
    get("events, from the middle", operator, format!("/v1/events?after={middle}"));
    get("events, the last", operator, format!("/v1/events?after={nearly_all}"));
    get("events of a rare type", operator, "/v1/events?after=0&types=key.created.v1".into());
    get("events of the newest tenant", newest, "/v1/events?after=0".into());
    get("audit", operator, "/v1/audit".into());
    get("audit of a severity", operator, "/v1/audit?severity=info".into());
    get("audit with a word that is in none", operator, "/v1/audit?q=nowhere".into());
    get("audit of the newest tenant", newest, "/v1/audit".into());
    Ok(requests)
}
