//! Answers of the mock to requests with certain API keys, whatever they ask for.

use std::collections::HashMap;
use std::sync::Mutex;

use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{Pieces, Seen, whole};

/// The answers by API key; the mock accepts all others.
#[derive(Default)]
pub struct Keys(Mutex<HashMap<String, Answer>>);

#[derive(Clone)]
struct Answer {
    /// `None` to accept the key.
    refusal: Option<(u16, &'static str)>,
    headers: HeaderMap,
}

impl Keys {
    pub fn set(&self, key: &str, refusal: Option<(u16, &'static str)>, headers: &[(&'static str, &'static str)]) {
        let pairs =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let answer = Answer { refusal, headers: pairs.collect() };
        self.0.lock().expect("the keys").insert(key.to_owned(), answer);
    }

    /// The refusal of the request's key.
    pub fn refusal(&self, seen: &Seen) -> Option<Response<Pieces>> {
        let answer = self.of(seen)?;
        let (status, body) = answer.refusal?;
        let mut response = whole(status, "application/json", body);
        response.headers_mut().extend(answer.headers);
        Some(response)
    }

    /// Adds what the mock says with every answer to the request's key.
    pub fn complete(&self, seen: &Seen, mut response: Response<Pieces>) -> Response<Pieces> {
        if let Some(answer) = self.of(seen) {
            response.headers_mut().extend(answer.headers);
        }
        response
    }

    fn of(&self, seen: &Seen) -> Option<Answer> {
        self.0.lock().expect("the keys").get(seen.key()?).cloned()
    }
}
