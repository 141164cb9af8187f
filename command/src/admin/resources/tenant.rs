//! A tenant: a customer of one partner, which never changes. Its end stops every key below it.

use events::content::ContentPolicy;
use events::event::admin::{Reach, ResourceBound, Strategy, Tenant};
use events::ids::{PartnerId, TenantId};

use super::bounds::{BOUNDS, BOUNDS_PLATFORM_ONLY, bounds};
use super::handles;
use super::model_patterns::patterns;
use super::prelude::*;
use super::terms;

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let members = [
        defaulting("partner_id", id::<PartnerId>(), Value::Null).fixed().meaning("Default: the caller's own partner"),
        required("name", text(NAME_LEN_MAX)),
    ];
    let own_providers = defaulting(OWN_PROVIDERS, boolean(), json!(false)).meaning(
        "True if the tenant's own administrators may create and change providers that serve this tenant alone, and set the prices \
         of these. Only the platform or the tenant's partner can change it",
    );
    let content_policy = defaulting(CONTENT_POLICY, one_of(ContentPolicy::NAMED), json!(ContentPolicy::default()))
        .reset_by_null()
        .meaning("What is kept of prompts and answers: nothing (`none`), digests of them in the record (`digest`), or also their text, sealed \
         in the object store (`sealed`)");
    let content_days = optional("content_days", whole(1, Tenant::CONTENT_DAYS_MAX.into())).meaning(
        "For how many days sealed content is kept after the day on which its request was admitted, in UTC; then it is deleted. Without it, \
         for ever",
    );
    let legal_hold = defaulting(LEGAL_HOLD, boolean(), json!(false)).meaning(
        "True while nothing of the tenant is deleted or erased: neither the tenant, nor people who have content in it, nor content after \
         its days. Only the platform or the tenant's partner can change it",
    );
    let required_terms = defaulting(REQUIRED_TERMS, terms::required(), json!({}))
        .shown_as(terms::required_shape())
        .reset_by_null()
        .meaning(
            "What each target must meet that its requests are sent to: residency, zero_retention, training. The tenant's own \
             administrators can only add to it",
        );
    let models = optional(MODELS, patterns()).meaning(
        "Names of models that the tenant's requests may use; * matches any text. null allows every model. Each key may have a narrower \
         list. Only the platform or the tenant's partner can change it",
    );
    let default_strategy = optional("default_strategy", one_of(Strategy::CHOOSABLE))
        .meaning("The strategy of models whose own is tenant_default; null for priority");
    let bounds = bounds(ResourceBound::binds_tenants);
    let own = [
        own_providers,
        content_policy,
        content_days,
        legal_hold,
        required_terms,
        models,
        default_strategy,
        bounds,
        labels(),
    ];
    let members = members.into_iter().chain(handles::members()).chain(own);
    Declaration::of::<Tenant>(
        members,
        json!({ "name": "customer", "required_terms": { "residency": "eu" }, "bounds": { "models": 2000 } }),
    )
});

const OWN_PROVIDERS: &str = "own_providers";
const CONTENT_POLICY: &str = "content_policy";
const LEGAL_HOLD: &str = "legal_hold";
const REQUIRED_TERMS: &str = "required_terms";
const MODELS: &str = "models";
const HOLD_FROM_ABOVE: &str = "only the platform or the tenant's partner can change a tenant's legal_hold";
const NO_STORE: &str = "`sealed` needs an object store: set LEDGERWAY_CONTENT_URL and restart the gateway";
const CREATED_FROM_ABOVE: &str = "only the platform or the tenant's partner can create or end a tenant";
/// The handles say whom the partner bills, and a conflict would reveal the handles of other tenants.
const HANDLES_FROM_ABOVE: &str = "only the platform or the tenant's partner can change a tenant's slug and external_id";
/// Nobody may loosen what binds itself.
const OWN_PROVIDERS_FROM_ABOVE: &str = "only the platform or the tenant's partner can change a tenant's own_providers";
const TERMS_FROM_ABOVE: &str =
    "only the platform or the tenant's partner can take anything out of a tenant's required_terms";

const MODELS_FROM_ABOVE: &str = "only the platform or the tenant's partner can change a tenant's models";

/// Errors: the caller reaches no further than a tenant.
fn require_above_tenants(cx: &AdminContext<'_>, reason: &'static str) -> Result<(), CommandError> {
    match cx.caller.reach {
        Reach::Platform | Reach::Partner(_) => Ok(()),
        Reach::Tenant(_) => Err(CommandError::OutOfReach { reason }),
    }
}

/// Errors: content is to be kept sealed, and this node has no store for it.
fn require_store(cx: &AdminContext<'_>, policy: ContentPolicy) -> Result<(), CommandError> {
    match policy {
        ContentPolicy::Sealed if !cx.admin.keeps_content => Err(FieldError::new(CONTENT_POLICY, NO_STORE).into()),
        ContentPolicy::None | ContentPolicy::Digest | ContentPolicy::Sealed => Ok(()),
    }
}

impl Rules for Tenant {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        handles::claim::<Self>(self.tenant_id, self.partner_id, &self.handles)
    }
}

impl Administered for Tenant {
    const PATH: &'static str = "/v1/admin/tenants";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    fn chain(state: &Tenant, _: &Tables) -> Chain {
        Chain { partner: Some(state.partner_id), tenant: Some(state.tenant_id), ..Chain::default() }
    }

    fn may_end(cx: &AdminContext<'_>) -> Result<(), CommandError> {
        require_above_tenants(cx, CREATED_FROM_ABOVE)
    }

    fn held(_: &AdminContext<'_>, state: &Tenant) -> Option<TenantId> {
        state.legal_hold.then_some(state.tenant_id)
    }

    /// Rows that end with the tenant: the keys of its own providers stop, so nothing could use their secrets any more.
    fn side_rows_at_end(_: &AdminContext<'_>, state: &Tenant) -> Vec<SideRow> {
        vec![release(state.tenant_id), SideRow::DropTenantSecrets(state.tenant_id)]
    }

    async fn create(cx: &AdminContext<'_>, id: TenantId, mut given: FieldValues) -> PlanResult<Self> {
        require_above_tenants(cx, CREATED_FROM_ABOVE)?;
        let partner_id = cx.parent(&mut given, "partner_id", cx.caller.chain.partner)?;
        let partner = cx.partner(partner_id, "partner_id")?;
        let made: Self = Self::of_values(id, given)?;
        require_store(cx, made.content_policy)?;
        if !made.bounds.is_empty() {
            cx.require_platform(BOUNDS_PLATFORM_ONLY)?;
        }
        Ok(CommandPlan::creation(made, Chain { tenant: Some(id), ..partner }))
    }

    async fn change(cx: &AdminContext<'_>, state: &Tenant, given: FieldValues) -> PlanResult<Self> {
        let has_fewer_terms =
            given.has(REQUIRED_TERMS) && !state.changed_by(&given)?.required_terms.includes(&state.required_terms);
        let from_above = [
            (handles::are_changed(&given), HANDLES_FROM_ABOVE),
            (given.has(OWN_PROVIDERS), OWN_PROVIDERS_FROM_ABOVE),
            (has_fewer_terms, TERMS_FROM_ABOVE),
            (given.has(MODELS), MODELS_FROM_ABOVE),
            (given.has(LEGAL_HOLD), HOLD_FROM_ABOVE),
        ];
        if let Some((_, reason)) = from_above.into_iter().find(|(is_changed, _)| *is_changed) {
            require_above_tenants(cx, reason)?;
        }
        if given.has(BOUNDS) {
            cx.require_platform(BOUNDS_PLATFORM_ONLY)?;
        }
        if given.has(CONTENT_POLICY) {
            require_store(cx, state.changed_by(&given)?.content_policy)?;
        }
        let claims = state.reclaim("slug", &given)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx).with_side(claims))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;

    use super::*;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::RuleError;
    use crate::admin::lifecycle::spec::{self, Given, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> Given<Tenant> {
        spec::given(facts)
    }

    fn named(name: &str) -> Tenant {
        Tenant::new(id(1), id(2), name)
    }

    #[test]
    fn a_tenant_is_made_renamed_and_ended() {
        let rename = || change(&json!({ "name": "Beta" }));
        let created = || created(named("Alpha"));
        let ended = || ended::<Tenant>(id(1));
        given([]).when(Create(named("Alpha"))).then([created()]);
        given([created()]).when(rename()).then([changed(named("Beta"))]);
        given([created()]).when(End).then([ended()]);
        given([created(), ended()]).when(rename()).then_refused(RuleError::Ended);
        given([created(), ended()]).when(Create(named("Alpha"))).then_refused(RuleError::Ended);
    }
}
