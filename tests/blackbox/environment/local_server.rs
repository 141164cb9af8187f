//! A server on this machine that lists its models, as Ollama and as OpenAI-compatible servers do, and answers Ollama's chat.

use std::sync::{Arc, Mutex};

use crate::scripted::ScriptedServer;

const ANSWER: &str = r#"{"model":"m","created_at":"2026-11-20T08:00:00Z","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}"#;

pub struct LocalServer {
    server: ScriptedServer,
    list: Arc<Mutex<String>>,
}

impl LocalServer {
    /// With this list of its models.
    pub fn start(list: &str) -> Self {
        let list = Arc::new(Mutex::new(list.to_owned()));
        let listed = Arc::clone(&list);
        let server = ScriptedServer::start(move |head| {
            let is_list = head.starts_with("GET /api/tags ") || head.starts_with("GET /v1/models ");
            let body = if is_list { listed.lock().expect("the list").clone() } else { ANSWER.to_owned() };
            format!("200 OK\r\ncontent-type: application/json\r\n\r\n{body}")
        });
        Self { server, list }
    }

    pub fn address(&self) -> String {
        self.server.origin()
    }

    /// From now on.
    pub fn lists(&self, list: &str) {
        list.clone_into(&mut self.list.lock().expect("the list"));
    }

    /// The heads of all requests.
    pub fn heard(&self) -> Vec<String> {
        self.server.heard()
    }
}
