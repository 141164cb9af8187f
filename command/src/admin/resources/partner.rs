//! A partner: the widest owner, a reseller with tenants. Its end stops every key below it.

use events::event::admin::{Partner, ResourceBound};
use events::ids::{PartnerId, TenantId};

use super::bounds::{BOUNDS, BOUNDS_PLATFORM_ONLY, bounds};
use super::handles::{self, PLATFORM};
use super::prelude::*;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let own = [bounds(ResourceBound::binds_partners), labels()];
    let members = [required("name", text(NAME_LEN_MAX))].into_iter().chain(handles::members()).chain(own);
    Declaration::of::<Partner>(members, json!({ "name": "reseller", "bounds": { "tenants": 20_000 } }))
});

const PLATFORM_ONLY: &str = "only the platform may create and end partners";
const HANDLES_PLATFORM_ONLY: &str = "only the platform may change a partner's slug and external_id";

impl Rules for Partner {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        handles::claim::<Self>(self.partner_id, PLATFORM, &self.handles)
    }
}

impl Administered for Partner {
    const PATH: &'static str = "/v1/admin/partners";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &Partner, _: &Tables) -> Chain {
        Chain { partner: Some(state.partner_id), ..Chain::default() }
    }

    fn may_create(cx: &AdminContext<'_>) -> Result<(), CommandError> {
        cx.require_platform(PLATFORM_ONLY)
    }

    fn may_end(cx: &AdminContext<'_>) -> Result<(), CommandError> {
        cx.require_platform(PLATFORM_ONLY)
    }

    fn held(cx: &AdminContext<'_>, state: &Partner) -> Option<TenantId> {
        cx.tables.tenants_under_legal_hold().find(|held| held.partner_id == state.partner_id).map(|held| held.tenant_id)
    }

    /// Rows that end with the partner: the secrets of its tenants' own providers, as for each of the tenants.
    fn side_rows_at_end(_: &AdminContext<'_>, state: &Partner) -> Vec<SideRow> {
        vec![release(state.partner_id), SideRow::DropPartnerSecrets(state.partner_id)]
    }

    async fn create(cx: &AdminContext<'_>, id: PartnerId, given: FieldValues) -> PlanResult<Self> {
        let made: Self = Self::of_values(id, given)?;
        let chain = Self::chain(&made, &cx.tables);
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &Partner, given: FieldValues) -> PlanResult<Self> {
        if handles::are_changed(&given) {
            cx.require_platform(HANDLES_PLATFORM_ONLY)?;
        }
        if given.has(BOUNDS) {
            cx.require_platform(BOUNDS_PLATFORM_ONLY)?;
        }
        let claims = state.reclaim("slug", &given)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx).with_side(claims))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;
    use events::event::admin::Handles;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::RuleError;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Partner> {
        spec::given(facts)
    }

    fn named(name: &str) -> Partner {
        Partner::new(id(1), name)
    }

    fn rename(name: &str) -> Command<Partner> {
        change(&json!({ "name": name }))
    }

    #[test]
    fn a_partner_is_created_once() {
        given([]).when(Create(named("Alpha"))).then([created(named("Alpha"))]);
        given([created(named("Alpha"))]).when(Create(named("Beta"))).then_refused(RuleError::Exists);
    }

    #[test]
    fn a_change_carries_the_whole_new_state() {
        given([created(named("Alpha"))]).when(rename("Beta")).then([changed(named("Beta"))]);
        given([created(named("Alpha"))]).when(change(&json!({}))).then([changed(named("Alpha"))]);
    }

    #[test]
    fn each_handle_is_kept_removed_or_set_on_its_own() {
        let with = |slug: Option<&str>, external_id: &str| {
            let handles = Handles { slug: slug.map(str::to_owned), external_id: Some(external_id.into()) };
            Partner { handles, ..named("Alpha") }
        };
        let past = || [created(with(Some("acme"), "C-1"))];
        given(past()).when(change(&json!({}))).then([changed(with(Some("acme"), "C-1"))]);
        given(past()).when(change(&json!({ "slug": null, "external_id": "C-2" }))).then([changed(with(None, "C-2"))]);
    }

    #[test]
    fn an_ended_partner_cannot_be_changed_and_ends_once() {
        let past = || [created(named("Alpha")), ended::<Partner>(id(1))];
        given([created(named("Alpha"))]).when(End).then([ended::<Partner>(id(1))]);
        given(past()).when(rename("Beta")).then_refused(RuleError::Ended);
        given(past()).when(End).then_nothing();
    }

    #[test]
    fn a_partner_that_does_not_exist_cannot_be_changed() {
        given([]).when(rename("Beta")).then_refused(RuleError::Absent);
        given([]).when(End).then_refused(RuleError::Absent);
    }
}
