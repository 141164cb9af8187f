//! What is asked of a folder: a request to the model, and the queries, each at the ends of what it may have to look at.

use std::io;

use serde_json::{Value, json};

use crate::client::Client;
use crate::folder::{Folder, MODEL};
use crate::process::{OPERATOR_KEY, Process};

/// Whose key asks.
#[derive(Clone, Copy)]
pub enum Who {
    Operator,
    /// The one tenant that began after all the traffic.
    Tenant,
}

pub struct Question {
    pub name: &'static str,
    pub who: Who,
    pub path: String,
    pub body: Option<Value>,
}

impl Question {
    pub fn ask(&self, client: &mut Client) -> io::Result<()> {
        let answer = match &self.body {
            Some(body) => client.post(&self.path, body)?,
            None => client.get(&self.path)?,
        };
        assert_eq!(answer.status, 200, "{}: {}", self.path, answer.body);
        Ok(())
    }
}

pub fn all(process: &Process, folder: &Folder) -> io::Result<Vec<Question>> {
    let mut operator = process.client(OPERATOR_KEY)?;
    let mut first = |path: &str| Ok::<_, io::Error>(operator.get(path)?.json()["items"][0].clone());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // A page before the newest, which may be of the tenant that this benchmark made.
    let life = first(&format!("/v1/inferences?limit=1&cursor=inferences-{}", folder.events / 2))?;
    let (tenant, key, request) = (text(&life["tenant_id"]), text(&life["key_id"]), text(&life["request_id"]));
    let begun = text(&life["recorded_at"]);
    let day = begun.split('T').next().unwrap_or_default();
    let budget = text(&first("/v1/budgets?limit=1")?["id"]);
    let (middle, nearly_all) = (folder.events / 2, folder.events.saturating_sub(200));
    let chat =
        json!({ "model": MODEL, "max_tokens": 64, "messages": [{ "role": "user", "content": "Say nine words." }] });
    let mut questions =
        vec![Question { name: "request", who: Who::Tenant, path: "/v1/chat/completions".into(), body: Some(chat) }];
    let mut get = |name, who, path: String| questions.push(Question { name, who, path, body: None });
    let by = Who::Operator;
    get("usage by day", by, "/v1/usage?group_by=day".into());
    get("usage by day of a tenant", by, format!("/v1/usage?group_by=day&tenant={tenant}"));
    get("usage by tenant of a day", by, format!("/v1/usage?group_by=tenant&day={day}"));
    get("usage by day of the newest tenant", Who::Tenant, "/v1/usage?group_by=day".into());
    get("budgets", by, "/v1/budgets".into());
    get("budget", by, format!("/v1/budgets/{budget}"));
    get("inferences", by, "/v1/inferences".into());
    get("inferences, from the middle", by, format!("/v1/inferences?cursor=inferences-{middle}"));
    get("inferences of a tenant", by, format!("/v1/inferences?tenant={tenant}"));
    get("inferences of a key", by, format!("/v1/inferences?key={key}"));
    get("inferences that failed", by, "/v1/inferences?status=failed".into());
    get("inferences before a time", by, format!("/v1/inferences?to={begun}"));
    get("inferences of a model that nobody asked for", by, "/v1/inferences?model=none".into());
    get("inferences of the newest tenant", Who::Tenant, "/v1/inferences".into());
    get("inference", by, format!("/v1/inferences/{request}"));
    get("events, from the beginning", by, "/v1/events?after=0".into());
    get("events, from the middle", by, format!("/v1/events?after={middle}"));
    get("events, the last", by, format!("/v1/events?after={nearly_all}"));
    get("events of a rare type", by, "/v1/events?after=0&types=key.created.v1".into());
    get("events of the newest tenant", Who::Tenant, "/v1/events?after=0".into());
    get("audit", by, "/v1/audit".into());
    get("audit of a severity", by, "/v1/audit?severity=info".into());
    get("audit with a word that is in none", by, "/v1/audit?q=nowhere".into());
    get("audit of the newest tenant", Who::Tenant, "/v1/audit".into());
    Ok(questions)
}
