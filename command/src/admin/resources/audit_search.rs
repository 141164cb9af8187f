//! A saved search: a named filter of the audit, so that auditors share one definition, whose changes are in the log. It is the
//! platform's or a tenant's, which never changes. Names are unique among those of each. Managing a search takes `admin:access`, not
//! `audit:read`.

use std::sync::LazyLock;

use events::event::admin::AuditSearch;
use events::event::{Chain, ResourceState};
use events::ids::{AuditSearchId, TenantId};
use events_log::SideRow;
use openapi::Shape;
use openapi::schema;
use projections::tables::Tables;
use projections::views::audit::{AuditFilter, Category, Severity, is_actor_a_name, name_in_resource};
use serde_json::json;

use super::NAME_LEN_MAX;
use crate::admin::admin_context::AdminContext;
use crate::admin::administered::{Administered, CommandPlan, PlanResult};
use crate::admin::declaration::{Declaration, Members, optional, required};
use crate::admin::field_type::{FieldType, id, text};
use crate::admin::field_values::FieldValues;
use crate::admin::fields::{Field, FieldError};
use crate::admin::lifecycle::{Command, RuleError, Rules};
use crate::admin::names::claim;

/// The longest text of a filter, in characters: the audit takes longer ones, in bytes.
const FILTER_LEN_MAX: usize = 1024;
const ACTOR_IS_NAME: &str = "must be the id of a key, operator or system:…: a name can change";
const RESOURCE_IS_NAME: &str = "must be an id, or a kind and an id such as key/key_…: a name can change";

static DECLARATION: LazyLock<Declaration> = LazyLock::new(|| {
    let members = vec![
        required("name", text(NAME_LEN_MAX))
            .meaning("Unique among the live searches of the platform, and among those of each tenant"),
        optional("tenant_id", id::<TenantId>())
            .fixed()
            .meaning("The tenant whose auditors see it; null for a search that only the platform's auditors see"),
        required("filter", parameters().into_object()).shown_as(parameters().creation().open()).meaning(
            "At least one filter of `GET /v1/audit`, each as in its query string. A change replaces the whole filter. Events contain \
             it. Actor and resource are ids: names change",
        ),
    ];
    let example = json!({ "name": "refusals", "filter": { "category": "access,inference", "severity": "warning" } });
    Declaration::of::<AuditSearch>(members, example)
});

/// The parameters of the audit that filter.
fn parameters() -> Members {
    Members(AuditFilter::PARAMETERS.map(|name| optional(name, parameter(name))).to_vec())
}

fn parameter(name: &'static str) -> FieldType {
    FieldType::new(shape(name), move |field| {
        let text = field.text(FILTER_LEN_MAX)?;
        accepted_by_the_audit(&field, name, &text)?;
        Ok(text)
    })
}

/// Errors: the audit would refuse a request whose parameter has this text; or it is a name, which others can change.
fn accepted_by_the_audit(field: &Field, name: &str, text: &str) -> Result<(), FieldError> {
    let read = AuditFilter::read(|asked| (asked == name).then(|| text.to_owned()));
    read.map(drop).map_err(|refusal| field.error(refusal.details["reason"].as_str().unwrap_or_default()))?;
    // Whoever may rename something, or name another thing so, could keep the search from finding it.
    match name {
        "actor" if is_actor_a_name(text) => Err(field.error(ACTOR_IS_NAME)),
        "resource" if name_in_resource(text).is_some() => Err(field.error(RESOURCE_IS_NAME)),
        _ => Ok(()),
    }
}

fn shape(name: &str) -> Shape {
    match name {
        "from" | "to" => schema::either([schema::time(), schema::date()]),
        "severity" => schema::one_of(Severity::words()),
        "category" => {
            let one = Category::words().collect::<Vec<_>>().join("|");
            schema::described(
                schema::formed(&format!("^ *({one})( *, *({one}))* *$")),
                "Categories, separated by commas",
            )
        }
        _ => schema::text(FILTER_LEN_MAX),
    }
}

impl Rules for AuditSearch {
    type State = Self;

    fn claim(&self) -> Option<SideRow> {
        Some(claim(Self::KIND, self.audit_search_id, &self.name, self.tenant_id))
    }

    /// Without a filter, it would be the whole audit under another name.
    fn validated(self) -> Result<Self, RuleError> {
        if self.filter.is_empty() { Err(without_a_filter()) } else { Ok(self) }
    }
}

fn without_a_filter() -> RuleError {
    let names = AuditFilter::PARAMETERS.join(", ");
    RuleError::of_field("filter", format!("must have at least one of: {names}"))
}

impl Administered for AuditSearch {
    const PATH: &'static str = "/v1/admin/audit-searches";
    const DECLARATION: &'static LazyLock<Declaration> = &DECLARATION;

    /// Empty for a search of the platform's.
    fn chain(state: &AuditSearch, tables: &Tables) -> Chain {
        state.tenant_id.and_then(|tenant| tables.chain_of_tenant(tenant)).unwrap_or_default()
    }

    async fn create(cx: &AdminContext<'_>, id: AuditSearchId, given: FieldValues) -> PlanResult<Self> {
        let made: Self = Self::of_values(id, given)?;
        let chain = cx.owner(made.tenant_id)?;
        Ok(CommandPlan::creation(made, chain))
    }

    async fn change(cx: &AdminContext<'_>, state: &AuditSearch, given: FieldValues) -> PlanResult<Self> {
        let claims = state.reclaim("name", &given)?;
        Ok(CommandPlan::of(Command::Change(given), state, cx).with_side(claims))
    }
}

#[cfg(test)]
mod tests {
    use events::event::Resource;

    use super::*;
    use crate::admin::fields::Fields;
    use crate::admin::lifecycle::Command::{Create, End};
    use crate::admin::lifecycle::spec::{self, changed, created, ended, id};
    use crate::admin::tests::change;

    fn given(facts: impl IntoIterator<Item = Resource>) -> spec::Given<AuditSearch> {
        spec::given(facts)
    }

    fn search(filter: &[(&str, &str)]) -> AuditSearch {
        let filter = filter.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        AuditSearch::new(id(1), "refusals", filter)
    }

    fn read(filter: &serde_json::Value) -> Result<FieldValues, FieldError> {
        let body = json!({ "name": "s", "filter": filter }).to_string();
        DECLARATION.members.read_creation(Fields::of_body(body.as_bytes()).unwrap())
    }

    #[test]
    fn a_change_replaces_the_whole_filter_and_none_is_left_without_one() {
        let (before, after) = (search(&[("severity", "warning"), ("q", "x")]), search(&[("q", "y")]));
        let to = |filter: &serde_json::Value| change(&json!({ "filter": filter }));
        given([]).when(Create(before.clone())).then([created(before.clone())]);
        given([created(before.clone())]).when(to(&json!({ "q": "y" }))).then([changed(after)]);
        given([created(before.clone())]).when(to(&json!({}))).then_refused(without_a_filter());
        given([]).when(Create(search(&[]))).then_refused(without_a_filter());
        let ended = || ended::<AuditSearch>(id(1));
        given([created(before.clone())]).when(End).then([ended()]);
        given([created(before), ended()]).when(to(&json!({ "q": "z" }))).then_refused(RuleError::Ended);
    }

    #[test]
    fn what_the_audit_would_refuse_cannot_be_saved() {
        for (filter, field) in [
            (json!({ "severity": "loud" }), "filter.severity"),
            (json!({ "category": "money,moneys" }), "filter.category"),
            (json!({ "from": "tomorrow" }), "filter.from"),
            (json!({ "to": "2026-11-31" }), "filter.to"),
            (json!({ "actor": 1 }), "filter.actor"),
            (json!({ "actor": "deploy" }), "filter.actor"),
            (json!({ "resource": "deploy" }), "filter.resource"),
            (json!({ "resource": "key/deploy" }), "filter.resource"),
            (json!({ "q": "x".repeat(FILTER_LEN_MAX + 1) }), "filter.q"),
            (json!({ "limit": "5" }), "filter.limit"),
            (json!({ "search": "asr_00000000000000000000000000000001" }), "filter.search"),
            (json!("severity=warning"), "filter"),
        ] {
            assert_eq!(read(&filter).unwrap_err().field, field, "{filter}");
        }
        for resource in ["key/key_00000000000000000000000000000001", "access/anonymous"] {
            assert!(read(&json!({ "resource": resource })).is_ok(), "{resource}");
        }
        let key = "key_00000000000000000000000000000001";
        let texts = ["2026-11-20", "2026-11-21T08:00:00Z", "operator", "key.created", key, "money,access", "info", "x"];
        let every: serde_json::Map<_, _> =
            AuditFilter::PARAMETERS.into_iter().zip(texts).map(|(name, text)| (name.to_owned(), json!(text))).collect();
        assert_eq!(read(&json!(every)).unwrap().get("filter"), Ok(Some(json!(every))));
    }
}
