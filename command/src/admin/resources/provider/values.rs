//! The types of fields that only providers have.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use dialects::provider_dialects::{Invocation, KeyFault, Upstream};
use dialects::surfaces::unpriced_fields;
use events::event::admin::Provider;
use http::{HeaderName, HeaderValue, Request};
use secrets::Secret;

use crate::admin::resources::base_url;
use crate::admin::resources::prelude::*;
use crate::credential_like::{is_credential_name, is_credential_value};
use crate::service_account::{self, ServiceAccount};

const BASE_URL_LEN_MAX: usize = 2000;
const API_KEY_LEN_MAX: usize = 4096;
/// With white space.
const API_KEY_JSON_LEN_MAX: usize = 2 * API_KEY_LEN_MAX;
const NOT_VISIBLE_ASCII: &str = "must consist of visible ASCII characters";
const EXCHANGED_ELSEWHERE: &str = "must not have a token_uri other than Google's unless \"allow_private_network\" is true: leave \
                                   token_uri out, or send both in one request";
const WORD_LEN_MAX: usize = 64;
const HEADERS_LEN_MAX: usize = 32;
const HEADER_VALUE_LEN_MAX: usize = 1024;
/// Their values have as many bytes as those of the other headers: an error of the upstream is searched for all of them.
pub const SECRET_HEADERS_LEN_MAX: usize = 8;
const SECRET_HEADER_LEN_MAX: usize = 4096;
const LOOKS_LIKE_A_CREDENTIAL: &str =
    "looks like a credential, and events contain headers: send it in secret_headers, or as the api_key";

/// Headers that the gateway itself sends, or that frame the message.
const OWN_HEADERS: &[&str] = &[
    "accept", "accept-encoding", "cdn-loop", "connection", "content-encoding", "content-length", "content-type",
    "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-request-id",
];

pub fn base_url() -> FieldType {
    FieldType::new(schema::url(BASE_URL_LEN_MAX), |field| {
        base_url::normal_form(&field.text(BASE_URL_LEN_MAX)?).map_err(|reason| field.error(reason))
    })
}

/// Visible ASCII, or a JSON object. [`api_key_of`] says which of them a kind takes.
pub fn api_key() -> FieldType {
    // Without a pattern: a published one may not change, and that of the first releases has no JSON.
    FieldType::new(schema::string(), |field| {
        let key = field.prose(API_KEY_JSON_LEN_MAX)?;
        if !is_visible_ascii(&key) && service_account::compact(&key).is_some() {
            return Ok(key);
        }
        match field.text(API_KEY_LEN_MAX)? {
            key if is_visible_ascii(&key) => Ok(key),
            _ => Err(field.error(NOT_VISIBLE_ASCII)),
        }
    })
}

fn is_visible_ascii(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The key as it is kept for an upstream. Where keys are exchanged for tokens, one in JSON must be a service account's, and
/// loses the white space between its values; elsewhere a key is part of a header. `is_private`: the provider may be on a
/// private network, where a key may be exchanged at any address that it names. Otherwise a key may not name one: it would be
/// called as soon as the provider may be on a private network, although that was given for its `base_url`. Errors: what is
/// wrong with it.
pub fn api_key_of(upstream: &Upstream, key: Secret, is_private: bool) -> Result<Secret, String> {
    let is_exchanged = upstream.endpoint().is_some_and(|endpoint| endpoint.token_exchange.is_some());
    if !is_exchanged || !service_account::is_json(key.reveal()) {
        return if is_visible_ascii(key.reveal()) { Ok(key) } else { Err(NOT_VISIBLE_ASCII.to_owned()) };
    }
    let account = ServiceAccount::validated(&key).map_err(|fault| fault.to_string())?;
    match service_account::compact(key.reveal()) {
        None => Err(NOT_VISIBLE_ASCII.to_owned()),
        Some(key) if key.len() > API_KEY_LEN_MAX => {
            Err(format!("must have at most {API_KEY_LEN_MAX} characters, without white space"))
        }
        Some(_) if account.is_exchanged_elsewhere() && !is_private => Err(EXCHANGED_ELSEWHERE.to_owned()),
        Some(key) => Ok(Secret::new(key)),
    }
}

/// Why a request to the provider cannot be authenticated with this key: tries it. A key that is exchanged is checked otherwise.
pub fn authentication_fault(
    upstream: &Upstream,
    key: &Secret,
    provider: &Provider,
    now: DateTime<Utc>,
) -> Option<KeyFault> {
    let endpoint = upstream.endpoint().filter(|endpoint| endpoint.token_exchange.is_none())?;
    // Without an address it is refused elsewhere.
    let mut request = Request::post(provider.base_url.as_deref()?).body(Bytes::new()).ok()?;
    let region = provider.region.as_deref();
    let invocation = Invocation { model: "", streamed: false, api_version: None, region };
    (endpoint.authenticate)(&mut request, key, &invocation, now).err()
}

/// A word of letters, digits, `.`, `_` and `-`: it becomes part of an address or of a signature.
pub fn word() -> FieldType {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let form = schema::formed(&format!("^[A-Za-z0-9._-]{{1,{WORD_LEN_MAX}}}$"));
    text_that(form, WORD_LEN_MAX, is_word, "must consist of letters, digits, \".\", \"_\" and \"-\"")
}

pub fn headers() -> FieldType {
    let shape = schema::map(schema::text(HEADER_VALUE_LEN_MAX), Some(HEADERS_LEN_MAX));
    FieldType::new(shape, |field| read_headers(field, HEADERS_LEN_MAX, header))
}

pub fn secret_headers() -> FieldType {
    let shape = schema::map(schema::text(SECRET_HEADER_LEN_MAX), Some(SECRET_HEADERS_LEN_MAX));
    FieldType::new(shape, |field| read_headers(field, SECRET_HEADERS_LEN_MAX, secret_header))
}

pub fn allowed_fields() -> FieldType {
    let len_max = unpriced_fields().count();
    let shape = schema::list(schema::one_of(unpriced_fields()), Some(len_max));
    FieldType::new(shape, move |field| {
        let path = field.path().to_owned();
        let names = field.list(len_max, unpriced)?;
        let (count, set) = (names.len(), BTreeSet::from_iter(names));
        if set.len() == count { Ok(set) } else { Err(FieldError::new(path, "a field is given twice")) }
    })
}

/// Only the names of such fields are accepted: any other name would have no effect, and is probably a mistake.
fn unpriced(field: Field) -> Result<String, FieldError> {
    let name = field.text(NAME_LEN_MAX)?;
    match unpriced_fields().any(|known| known == name) {
        true => Ok(name),
        false => Err(field.error("is not a field that can be allowed: /openapi.json lists them")),
    }
}

/// The name of a header and its value.
type Header = (String, String);

fn read_headers(
    field: Field,
    len_max: usize,
    read: fn(&str, &Field) -> Result<Header, FieldError>,
) -> Result<BTreeMap<String, String>, FieldError> {
    let path = field.path().to_owned();
    let members = field.map(len_max, |name, field| read(name, &field))?;
    let mut headers = BTreeMap::new();
    for (given, (name, value)) in members {
        if headers.insert(name, value).is_some() {
            return Err(FieldError::new(format!("{path}.{given}"), "is given twice: names of headers ignore case"));
        }
    }
    Ok(headers)
}

fn header(name: &str, field: &Field) -> Result<Header, FieldError> {
    let name = header_name(name, field)?;
    if is_credential_name(&name) {
        return Err(field.error(LOOKS_LIKE_A_CREDENTIAL));
    }
    let value = header_value(field, HEADER_VALUE_LEN_MAX)?;
    if is_credential_value(&name, &value) {
        return Err(field.error(LOOKS_LIKE_A_CREDENTIAL));
    }
    Ok((name, value))
}

fn secret_header(name: &str, field: &Field) -> Result<Header, FieldError> {
    Ok((header_name(name, field)?, header_value(field, SECRET_HEADER_LEN_MAX)?))
}

fn header_name(name: &str, field: &Field) -> Result<String, FieldError> {
    let name: HeaderName = name.parse().map_err(|_| field.error("is not a valid header name"))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(field.error("is sent by the gateway itself"));
    }
    Ok(name.as_str().to_owned())
}

fn header_value(field: &Field, len_max: usize) -> Result<String, FieldError> {
    let value = field.text(len_max)?;
    match HeaderValue::from_str(&value) {
        Ok(header) if header.to_str().is_ok() => Ok(value),
        Ok(_) | Err(_) => Err(field.error("is not a valid header value")),
    }
}
