//! Authenticates requests to AWS: with a Bedrock API key, or with a signature of version 4 by an access key.
//!
//! The provider's `api_key` is either. An access key is written `ACCESS_KEY_ID:SECRET_ACCESS_KEY`, for temporary
//! credentials with `:SESSION_TOKEN` after it. None of them has a colon in it, nor has a Bedrock API key.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::hex;
use events::secret::Secret;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request};

use super::Invocation;
use crate::authentication::{KeyFault, bearer, sensitive};

const SERVICE: &str = "bedrock";
/// Host labels before the region's. A VPC endpoint has its own name before these.
const HOST_LABELS: [&str; 2] = ["bedrock-runtime", "bedrock-runtime-fips"];

/// Adds the key, or a signature. Errors: the key is neither, or its region is unknown.
pub fn authenticate(
    request: &mut Request<Bytes>,
    key: &Secret,
    invocation: &Invocation<'_>,
    now: DateTime<Utc>,
) -> Result<(), KeyFault> {
    let Some((access_key_id, rest)) = key.reveal().split_once(':') else {
        return match is_access_key_id(key.reveal()) {
            true => Err(KeyFault::NotOfAws),
            false => bearer(request, key, invocation, now),
        };
    };
    let (secret, token) = rest.split_once(':').map_or((rest, None), |(secret, token)| (secret, Some(token)));
    let parts = [Some(access_key_id), Some(secret), token];
    if parts.into_iter().flatten().any(|part| part.is_empty() || part.contains(':')) {
        return Err(KeyFault::NotOfAws);
    }
    let credentials = Credentials::new(access_key_id, secret, token.map(str::to_owned), None, "ledgerway");
    let region = invocation.region.or_else(|| region_of(request.uri().host()?)).ok_or(KeyFault::NoRegion)?.to_owned();
    add_signature(request, credentials, &region, now).ok_or(KeyFault::NotAHeader)
}

/// True for the id of an access key, which is nothing without its secret.
fn is_access_key_id(key: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    key.len() == 20 && (key.starts_with("AKIA") || key.starts_with("ASIA")) && key.bytes().all(is_of_it)
}

/// The region in the name of a host of Bedrock's, such as `bedrock-runtime.us-east-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.split('.');
    labels.find(|label| HOST_LABELS.contains(label))?;
    labels.next().filter(|region| region.contains('-'))
}

/// Signs host, type, date and session token, which no proxy changes, and the body's hash.
fn add_signature(
    request: &mut Request<Bytes>,
    credentials: Credentials,
    region: &str,
    now: DateTime<Utc>,
) -> Option<()> {
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now.into())
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let headers = content_type.map(|value| (CONTENT_TYPE.as_str(), value));
    // The crate is given the hash alone, because it logs what it signs at its most detailed level.
    let hash = hex::lower(ring::digest::digest(&ring::digest::SHA256, request.body()).as_ref());
    let uri = request.uri().to_string();
    let signable =
        SignableRequest::new(request.method().as_str(), &*uri, headers.into_iter(), SignableBody::Precomputed(hash));
    let (instructions, _) = sign(signable.ok()?, &params).ok()?.into_parts();
    let added = instructions.headers().map(|(name, value)| Some((HeaderName::try_from(name).ok()?, sensitive(value)?)));
    let added: Vec<_> = added.collect::<Option<_>>()?;
    request.headers_mut().extend(added);
    Some(())
}

#[cfg(test)]
mod tests;
