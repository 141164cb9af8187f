//! One connection, one request at a time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use testing::blocking::BlockingWire;
use testing::request;

/// No answer takes longer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

pub struct Client {
    wire: BlockingWire,
    key: String,
}

pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Client {
    pub fn connect(address: SocketAddr, key: &str) -> io::Result<Self> {
        Ok(Self { wire: BlockingWire::open(address, ANSWER_MAX)?, key: key.to_owned() })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask("GET", path, "")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.ask("POST", path, &body.to_string())
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let (status, body) = self.wire.ask(&request::with_body(method, path, &self.key, body.as_bytes()))?;
        Ok(Answer { status, body: String::from_utf8(body).map_err(io::Error::other)? })
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("an answer in JSON")
    }
}
