//! A request to administration: its caller, its body, and the key that identifies its retries. It takes its `CommandPermit` when
//! its body is complete: nothing holds one while a body is still arriving.

use std::sync::Arc;

use axum::extract::{FromRequest, OriginalUri, Request};
use bytes::Bytes;
use events::event::admin::Permission;
use events::ids::RequestId;
use events_log::concurrency::CommandPermit;
use events_log::{ClientAddress, Fingerprint, Idempotency, Log, SideRow, StoredReply};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use projections::caller::{Caller, ClientOrigin};

use super::AdminState;
use super::admin_context::AdminContext;
use super::fields::{FieldError, Fields};
use super::rejected::NotedResource;
use crate::admin::error::CommandError;
use crate::body::memory::BodyOwner;
use crate::body::{self, HeldBody};
use crate::idempotency::{self, fingerprint, fingerprint_key};

/// A complete request of a caller that may administrate, as of the end of its body.
pub struct AdminRequest {
    pub caller: Arc<Caller>,
    pub origin: ClientOrigin,
    pub request_id: RequestId,
    pub idempotency_key: Option<IdempotencyKey>,
    /// Where the resource that the path names is noted.
    pub resource: NotedResource,
    body: HeldBody,
    has_no_fields: bool,
    /// Held until the command is done.
    _permit: CommandPermit,
}

/// The `Idempotency-Key` of a request, with what identifies the request that it was first used for.
#[derive(Clone)]
pub struct IdempotencyKey {
    /// The caller that chose the key.
    pub scope: String,
    pub key: String,
    /// The fingerprint of method, path and query, body and the tenant that the caller chose.
    pub fingerprint: Fingerprint,
}

impl FromRequest<AdminState> for AdminRequest {
    type Rejection = CommandError;

    async fn from_request(request: Request, admin: &AdminState) -> Result<Self, CommandError> {
        let (parts, body) = request.into_parts();
        let caller = extension::<Arc<Caller>>(&parts)?;
        // A first check, to save a body that would be refused. The check that counts follows after the body.
        caller.require(Permission::AdminAccess).map_err(CommandError::NotPermitted)?;
        let (origin, request_id) = (extension(&parts)?, extension(&parts)?);
        let uri = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |original| &original.0);
        // Routes that change no resource have none.
        let resource = parts.extensions.get::<NotedResource>().cloned().unwrap_or_default();
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str()).to_owned();
        let body = body::read_all(&admin.bodies, BodyOwner::of_administration(&caller), &parts.headers, body).await?;
        let has_no_fields = has_no_fields(&body.bytes);
        let needs_no_type = body.bytes.is_empty() || (has_no_fields && !parts.headers.contains_key(CONTENT_TYPE));
        if !needs_no_type && !body::is_json(&parts.headers) {
            return Err(CommandError::MediaType);
        }
        // After the body: otherwise clients that send slowly would take up the places of everybody else's commands.
        let permit = if parts.method == Method::DELETE {
            admin.concurrency.admit_end(caller.requester()).await?
        } else {
            admin.concurrency.admit_command(caller.requester()).await?
        };
        let caller = AdminContext::new(admin, &caller)?.caller;
        let idempotency_key = IdempotencyKey::of(admin, &parts, &caller, &path, &body.bytes).await?;
        Ok(Self { caller, origin, request_id, idempotency_key, resource, body, has_no_fields, _permit: permit })
    }
}

impl AdminRequest {
    /// The fields of the body.
    pub fn fields(&self) -> Result<Fields, FieldError> {
        Fields::of_body(if self.has_no_fields { b"{}" } else { &self.body.bytes })
    }

    /// The fields of a body that may have so many values.
    pub fn fields_within(&self, values_max: usize) -> Result<Fields, FieldError> {
        Fields::of_body_within(&self.body.bytes, values_max)
    }

    /// The body as it was sent.
    pub fn bytes(&self) -> Bytes {
        self.body.bytes.clone()
    }

    /// The reply to an earlier attempt of the same request.
    ///
    /// Errors: the key was used for a different request.
    pub async fn earlier_reply(&self, log: &Log) -> Result<Option<StoredReply>, CommandError> {
        let Some(sent) = &self.idempotency_key else { return Ok(None) };
        let (scope, key) = (sent.scope.clone(), sent.key.clone());
        let stored =
            log.read_for(self.caller.chain.tenant, move |reader| reader.idempotent_reply(&scope, &key)).await?;
        match stored {
            Some(stored) if !sent.fingerprint.matches(&stored.fingerprint) => Err(CommandError::IdempotencyKeyReused),
            stored => Ok(stored),
        }
    }

    /// The client's address and user agent, for the erasable side table.
    pub fn client_address(&self) -> SideRow {
        SideRow::ClientAddress(ClientAddress {
            request_id: self.request_id,
            ip: self.origin.ip.to_string(),
            user_agent: self.origin.user_agent.clone(),
        })
    }
}

impl IdempotencyKey {
    async fn of(
        admin: &AdminState,
        parts: &Parts,
        caller: &Caller,
        path: &str,
        body: &[u8],
    ) -> Result<Option<Self>, CommandError> {
        let Some(key) = idempotency::key_of(&parts.headers)? else { return Ok(None) };
        let tenant = caller.chain.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let secret = fingerprint_key(&admin.log, &admin.key_check, caller.chain).await?;
        let fingerprint = fingerprint(&secret, &[parts.method.as_str(), path, &tenant], body);
        Ok(Some(Self { scope: caller.actor.to_string(), key, fingerprint }))
    }

    /// The row that is appended with the change, so that a retry gets the same reply.
    pub fn with_reply(self, status: StatusCode, body: String) -> Idempotency {
        let Self { scope, key, fingerprint } = self;
        Idempotency { scope, key, fingerprint, status: status.as_u16(), body }
    }
}

/// True if the body is absent, blank, or an object without fields: such a body needs no media type to be understood.
fn has_no_fields(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    let inside = body.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    body.is_empty() || inside.is_some_and(|inside| inside.trim_ascii().is_empty())
}

/// An extension that the outer layers add to every request.
fn extension<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, CommandError> {
    let extension = parts.extensions.get().cloned();
    extension.ok_or_else(|| CommandError::Defect(format!("a request without {}", std::any::type_name::<T>())))
}
