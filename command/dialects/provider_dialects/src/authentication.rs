//! Credentials in headers, as most upstreams take them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::secret::Secret;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request};

use super::Invocation;

/// Why a request cannot be authenticated with the provider's key. Lower case, to follow the name of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("must consist of visible ASCII characters")]
    NotAHeader,
    #[error(
        "must be a Bedrock API key, or ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN for temporary credentials"
    )]
    NotOfAws,
    /// Signatures are for a region, and neither the provider nor its address names one.
    #[error("is required for a key that signs, since the host of base_url names no region")]
    NoRegion,
}

impl KeyFault {
    /// The field of the provider that is at fault.
    pub const fn field(self) -> &'static str {
        match self {
            Self::NotAHeader | Self::NotOfAws => "api_key",
            Self::NoRegion => "region",
        }
    }
}

/// Adds the key as a bearer token.
pub fn bearer(
    request: &mut Request<Bytes>,
    key: &Secret,
    _: &Invocation<'_>,
    _: DateTime<Utc>,
) -> Result<(), KeyFault> {
    add(request, AUTHORIZATION, &["Bearer ", key.reveal()].concat())
}

/// Adds a header that logs hide.
pub fn add(request: &mut Request<Bytes>, name: HeaderName, text: &str) -> Result<(), KeyFault> {
    request.headers_mut().insert(name, sensitive(text).ok_or(KeyFault::NotAHeader)?);
    Ok(())
}

/// A header value that logs hide. `None` if the text is not a valid one.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
