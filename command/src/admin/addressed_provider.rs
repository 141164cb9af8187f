//! The provider that a route about more than its row names in its path, as far as the caller reaches it.

use std::sync::Arc;

use events::event::admin::Provider;
use events::event::{Chain, ResourceState};
use events::ids::ProviderId;
use projections::reach;

use super::admin_context::AdminContext;
use super::administered::Administered;
use super::execution::catch_up_after;
use super::request::AdminRequest;
use super::{AdminState, CommandError};

/// A provider, and the context in which it was found.
pub(crate) struct AddressedProvider<'a> {
    pub cx: AdminContext<'a>,
    pub provider: Arc<Provider>,
    pub owners: Chain,
}

/// The reason why a caller addresses a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see it, as in `GET /v1/admin/providers/{id}`: also if it has ended.
    See,
    /// To have something done with it, as in `PATCH`: it must be live.
    Use,
}

impl<'a> AddressedProvider<'a> {
    /// Errors: there is none, also not on another node, or the caller does not reach it; for use, it has ended, or its owner.
    pub(crate) async fn find(
        admin: &'a AdminState,
        request: &AdminRequest,
        id: &str,
        purpose: Purpose,
    ) -> Result<Self, CommandError> {
        let seen = admin.tables.load().position;
        match Self::find_once(admin, request, id, purpose) {
            Err(error) => {
                catch_up_after(admin, seen, error).await?;
                Self::find_once(admin, request, id, purpose)
            }
            found => found,
        }
    }

    fn find_once(
        admin: &'a AdminState,
        request: &AdminRequest,
        id: &str,
        purpose: Purpose,
    ) -> Result<Self, CommandError> {
        let kind = Provider::KIND;
        let cx = AdminContext::new(admin, &request.caller)?;
        let found = id.parse::<ProviderId>().ok().and_then(|id| cx.tables.provider(id).cloned());
        let entry = found.ok_or(CommandError::NotFound { kind })?;
        let owners = Provider::chain(&entry.value, &cx.tables);
        match purpose {
            Purpose::See if !reach::contains(cx.caller.reach, &owners) => return Err(CommandError::NotFound { kind }),
            Purpose::See => {}
            Purpose::Use => {
                cx.require_visible(kind, &owners)?;
                request.resource.reached(entry.value.provider_id, owners);
                if !entry.is_live() {
                    return Err(CommandError::Ended { kind });
                }
                cx.require_live_owners(kind, &owners)?;
                cx.require_own_providers(entry.value.tenant_id)?;
            }
        }
        Ok(Self { cx, provider: entry.value, owners })
    }
}
