//! The parts of a request and of its explanation that a caller may see: those that it sees elsewhere of budgets, of administration, and of
//! models.

use ::events::event::Chain;
use ::events::event::admin::{Model, Permission};
use ::events::recorded_route::RouteDetail;
use ::projections::caller::Caller;
use ::projections::tables::Tables;
use ::projections::visible::Visible;

/// The rights of a caller to see parts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRights {
    visible: Visible,
    /// `/v1/admin` shows prices, rate limits and models, and takes this permission.
    may_administer: bool,
}

impl RequestRights {
    pub fn of(caller: &Caller) -> Self {
        Self { visible: Visible::for_caller(caller), may_administer: caller.may(Permission::AdminAccess) }
    }

    pub const fn visible(self) -> Visible {
        self.visible
    }

    /// Whether it sees the amounts of a budget of these owners, as in `/v1/budgets`.
    pub fn includes_budgets_of(self, owners: &Chain) -> bool {
        self.visible.includes(owners)
    }

    /// Whether it sees a price or a rate limit of these owners.
    pub fn includes_settings_of(self, owners: &Chain) -> bool {
        self.may_administer && self.visible.includes(owners)
    }

    /// How much it is told of a route through this version of a model; `None` if the log does not have the version. The rule is that of
    /// `POST /v1/admin/models/{id}/explain`: the costs, speeds and failures of shared providers are the platform's.
    pub fn route_detail(self, model: Option<&Model>, tables: &Tables) -> RouteDetail {
        let is_own = |model: &Model| {
            let owner = model.tenant_id.filter(|tenant| tables.is_on_providers_of(*tenant, model));
            owner.and_then(|tenant| tables.chain_of_tenant(tenant)).is_some_and(|owner| self.visible.includes(&owner))
        };
        let is_whole = self.may_administer && (self.visible == Visible::Platform || model.is_some_and(is_own));
        if is_whole { RouteDetail::Full } else { RouteDetail::CallsOnly }
    }

    /// Whether [`Self::route_detail`] depends on the model.
    pub fn depend_on_model(self) -> bool {
        self.may_administer && self.visible != Visible::Platform
    }
}
