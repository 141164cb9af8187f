//! Fuzz targets of keys in requests. See `docs/fuzzing.md`.

use std::sync::Arc;

use access_control::auth::token::{self, Token};
use events::ids::{IdMaker, SystemRandom};
use events::time::SystemClock;
use fuzzing::{Corpus, Dice, fuzz};
use http::{HeaderMap, HeaderValue};
use secrets::NodeKey;
use serde_json::json;

use crate::admin::tests::lab::{Lab, OPERATOR_KEY};

/// A key of a fixed text, because runs must be reproducible and new keys are random.
const MADE: &str = "sgk_0198c1de000070008000000000000001_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg01234567";

#[test]
fn a_text_that_we_did_not_create_is_not_one_of_our_keys() {
    let key_check = NodeKey::from_bytes(&[7; 32]).derived_key_check();
    let ids = IdMaker::new(Arc::new(SystemClock::new()), Arc::new(SystemRandom));
    let made: Vec<String> = (0..4).map(|_| token::make(ids.make(), &key_check, &ids).reveal().to_owned()).collect();
    let corpus = Corpus::of(made.iter().map(|token| token.clone().into_bytes()).chain([MADE.into()]));
    fuzz!(20_000, |dice| {
        let mut text = match dice.below(2) {
            0 => made[dice.below(made.len())].clone(),
            _ => String::from_utf8_lossy(&corpus.draw(dice)).into_owned(),
        };
        if dice.one_in(2) && text.len() > 80 && text.is_ascii() {
            let at = dice.below(text.len());
            text.replace_range(at..=at, &dice.text_of("0123456789abcdefABCDEFzZ_", 1));
        }
        let Some(token) = Token::parse(&text) else { return assert!(!made.contains(&text), "{text}") };
        assert_eq!(token.is_ours(&key_check), made.contains(&text), "{text}");
        assert_eq!(text.get(4..36), token.key_id.to_string().get(4..), "{text}");
    });
}

/// A header's value around a key, or around what is left of one.
fn presented(key: &str, dice: &mut Dice<'_>) -> Vec<u8> {
    let corpus = Corpus::of([key.as_bytes().to_vec()]);
    let key = if dice.one_in(2) { key.as_bytes().to_vec() } else { corpus.draw(dice) };
    let schemes = ["Bearer ", "bearer  ", "BEARER\t", "Bearer", "Basic ", "", " Bearer ", "Bearer Bearer "];
    let scheme = dice.pick(&schemes).unwrap_or_default();
    let end = dice.pick(&["", " ", "\t", ",", "\u{a0}", "\0"]).unwrap_or_default();
    [scheme.as_bytes(), &key, end.as_bytes()].concat()
}

/// The key in an `Authorization` header, parsed independently.
fn bearer_of(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
    text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "))?;
    text.get(7..).map(str::trim)
}

#[test]
fn only_a_complete_key_authenticates() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lab = runtime.block_on(Lab::new());
    let secret = runtime.block_on(async { lab.made("/keys", json!({"name": "app"})).await })["secret"].clone();
    let secret = secret.as_str().expect("a new key has a secret");
    fuzz!(2_000, |dice| {
        let key = dice.pick(&[secret, OPERATOR_KEY, MADE, ""]).unwrap_or_default();
        let mut headers = HeaderMap::new();
        let (authorization, api_key) = (presented(key, dice), presented(key, dice));
        if let (true, Ok(value)) = (dice.one_in(2), HeaderValue::from_bytes(&api_key)) {
            headers.insert("x-api-key", value);
        }
        if let (true, Ok(value)) = (!dice.one_in(4), HeaderValue::from_bytes(&authorization)) {
            headers.insert("authorization", value);
        }
        let shown = match headers.get("authorization") {
            Some(value) => bearer_of(value.as_bytes()),
            None => headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(str::trim),
        };
        let known = [secret, OPERATOR_KEY].into_iter().find(|known| shown == Some(*known));
        let caller = runtime.block_on(lab.auth.authenticate(&headers));
        assert_eq!(caller.is_ok(), known.is_some(), "{headers:?}");
        assert_eq!(lab.auth.presented_key(&headers).is_some(), known == Some(secret), "{headers:?}");
    });
}
