//! One administrative request: who sends it, what it says and how a retry of it is known.

use std::sync::Arc;

use axum::extract::{FromRequest, OriginalUri, Request};
use events::concurrency::CommandPermit;
use events::event::admin::Permission;
use events::ids::RequestId;
use events::log::{ClientAddress, Idempotency, SideRow};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use projections::caller::{Caller, ClientOrigin};

use super::AdminState;
use super::admin_context::AdminContext;
use super::fields::{FieldError, Fields};
use crate::admin::error::CommandError;
use crate::body::memory::BodyOwner;
use crate::body::{self, HeldBody};
use crate::idempotency::{self, fingerprint};

/// A request of a caller that may administrate, as of when its body was complete.
pub struct AdminRequest {
    pub caller: Arc<Caller>,
    pub origin: ClientOrigin,
    pub request_id: RequestId,
    pub retry: Option<RetryKey>,
    body: HeldBody,
    says_nothing: bool,
    /// Kept until the command has been carried out.
    _permit: CommandPermit,
}

/// How a retry of the request is known: by the caller's own key for it, and by all that it says.
#[derive(Clone)]
pub struct RetryKey {
    /// Whose key it is.
    pub scope: String,
    pub key: String,
    /// SHA-256 over method, path, body and the tenant that the caller chose.
    pub fingerprint: [u8; 32],
}

impl FromRequest<AdminState> for AdminRequest {
    type Rejection = CommandError;

    async fn from_request(request: Request, admin: &AdminState) -> Result<Self, CommandError> {
        let (parts, body) = request.into_parts();
        let caller = extension::<Arc<Caller>>(&parts)?;
        // Before the body, so that nobody sends one for nothing; what counts is asked when it is there.
        caller.require(Permission::AdminAccess).map_err(CommandError::NotPermitted)?;
        let (origin, request_id) = (extension(&parts)?, extension(&parts)?);
        let path = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0).path().to_owned();
        let body = body::read_all(&admin.bodies, BodyOwner::of_administration(&caller), &parts.headers, body).await?;
        let says_nothing = says_nothing(&body.bytes);
        let needs_no_type = body.bytes.is_empty() || (says_nothing && !parts.headers.contains_key(CONTENT_TYPE));
        if !needs_no_type && !body::is_json(&parts.headers) {
            return Err(CommandError::MediaType);
        }
        // Not before the body is there: clients that send theirs slowly would hold the places of everybody else's commands.
        let permit = admin.concurrency.admit_command(caller.requester()).await?;
        let caller = AdminContext::new(admin, &caller)?.caller;
        let retry = RetryKey::of(&parts.headers, &caller, &parts.method, &path, &body.bytes)?;
        Ok(Self { caller, origin, request_id, retry, body, says_nothing, _permit: permit })
    }
}

impl AdminRequest {
    /// The body's fields; none where it says nothing.
    pub fn fields(&self) -> Result<Fields, FieldError> {
        Fields::of_body(if self.says_nothing { b"{}" } else { &self.body.bytes })
    }

    /// Where the request came from, for the erasable side table.
    pub fn client_address(&self) -> SideRow {
        SideRow::ClientAddress(ClientAddress {
            request_id: self.request_id,
            ip: self.origin.ip.to_string(),
            user_agent: self.origin.user_agent.clone(),
        })
    }
}

impl RetryKey {
    fn of(
        headers: &HeaderMap,
        caller: &Caller,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Option<Self>, CommandError> {
        let Some(key) = idempotency::key_of(headers)? else { return Ok(None) };
        let tenant = caller.chain.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let fingerprint = fingerprint(&[method.as_str(), path, &tenant], body);
        Ok(Some(Self { scope: caller.actor.to_string(), key, fingerprint }))
    }

    /// To keep with the change that answers the request.
    pub fn answered(self, status: StatusCode, body: String) -> Idempotency {
        let Self { scope, key, fingerprint } = self;
        Idempotency { scope, key, fingerprint, status: status.as_u16(), body }
    }
}

/// Whether the body is absent, blank, or an object without fields: for those there are no two readings.
fn says_nothing(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let inside = body.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    body.is_empty() || inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// What the outer layers put into every request.
fn extension<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, CommandError> {
    let found = parts.extensions.get().cloned();
    found.ok_or_else(|| CommandError::Defect(format!("a request without {}", std::any::type_name::<T>())))
}
