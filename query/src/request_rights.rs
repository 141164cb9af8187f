//! What a caller may see of a request and of its explanation: what it sees elsewhere of budgets, of administration, and of models.

use ::events::event::Chain;
use ::events::event::admin::Permission;
use ::projections::caller::Caller;
use ::projections::visible::Visible;

/// What a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    visible: Visible,
    /// `/v1/admin` shows prices, rate limits and models, and takes this permission.
    may_administer: bool,
}

impl Rights {
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

    /// Whether it sees the targets of every model.
    pub fn includes_models(self) -> bool {
        self.may_administer && self.visible == Visible::Platform
    }
}
