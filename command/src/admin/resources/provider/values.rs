//! The types of fields that only providers have.

use std::collections::{BTreeMap, BTreeSet};

use dialects::surfaces::unpriced_fields;
use http::{HeaderName, HeaderValue};
use openapi::schema;

use crate::admin::field_type::{FieldType, text_that};
use crate::admin::fields::{Field, FieldError};
use crate::admin::resources::{NAME_LEN_MAX, base_url};

const BASE_URL_LEN_MAX: usize = 2000;
const API_KEY_LEN_MAX: usize = 4096;
const WORD_LEN_MAX: usize = 64;
const HEADERS_LEN_MAX: usize = 32;
const HEADER_VALUE_LEN_MAX: usize = 1024;

/// Headers that the gateway itself sends, or that frame the message.
const OWN_HEADERS: &[&str] = &[
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "x-request-id",
];
/// Words in the names of headers that are likely to carry credentials.
const CREDENTIAL_WORDS: &[&str] =
    &["authorization", "api-key", "apikey", "cookie", "credential", "password", "proxy-", "secret", "token"];

pub fn base_url() -> FieldType {
    FieldType::new(schema::url(BASE_URL_LEN_MAX), |field| {
        base_url::normal_form(&field.text(BASE_URL_LEN_MAX)?).map_err(|reason| field.error(reason))
    })
}

pub fn api_key() -> FieldType {
    let is_visible_ascii = |key: &str| key.bytes().all(|byte| byte.is_ascii_graphic());
    let form = schema::formed(&format!("^[!-~]{{1,{API_KEY_LEN_MAX}}}$"));
    text_that(form, API_KEY_LEN_MAX, is_visible_ascii, "must consist of visible ASCII characters")
}

/// A word of letters, digits, `.`, `_` and `-`: it becomes part of an address or of a signature.
pub fn word() -> FieldType {
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let form = schema::formed(&format!("^[A-Za-z0-9._-]{{1,{WORD_LEN_MAX}}}$"));
    text_that(form, WORD_LEN_MAX, is_word, "must consist of letters, digits, \".\", \"_\" and \"-\"")
}

pub fn headers() -> FieldType {
    FieldType::new(schema::map(schema::text(HEADER_VALUE_LEN_MAX), Some(HEADERS_LEN_MAX)), read_headers)
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

fn read_headers(field: Field) -> Result<BTreeMap<String, String>, FieldError> {
    let path = field.path().to_owned();
    let members = field.map(HEADERS_LEN_MAX, |name, field| {
        let name = header_name(name, &field)?;
        Ok((name, header_value(field)?))
    })?;
    let mut headers = BTreeMap::new();
    for (given, (name, value)) in members {
        if headers.insert(name, value).is_some() {
            return Err(FieldError::new(format!("{path}.{given}"), "is given twice: names of headers ignore case"));
        }
    }
    Ok(headers)
}

fn header_name(name: &str, field: &Field) -> Result<String, FieldError> {
    let name: HeaderName = name.parse().map_err(|_| field.error("is not a valid header name"))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        return Err(field.error("is sent by the gateway itself"));
    }
    if CREDENTIAL_WORDS.iter().any(|word| name.as_str().contains(word)) {
        return Err(field.error("looks like a credential: send credentials in api_key"));
    }
    Ok(name.as_str().to_owned())
}

fn header_value(field: Field) -> Result<String, FieldError> {
    let value = field.text(HEADER_VALUE_LEN_MAX)?;
    match HeaderValue::from_str(&value) {
        Ok(header) if header.to_str().is_ok() => Ok(value),
        Ok(_) | Err(_) => Err(field.error("is not a valid header value")),
    }
}
