//! What files may have although it does nothing. It is said, and applied as it is: it may be meant for later.

use serde_json::Value;

use super::desired::Desired;
use super::kind::Kind;
use super::mistake::{Mistake, in_order};

const RULES: &str = "rules";
const NOT_BY_RULES: &str = "no request goes by them: add strategy: rules, or remove them";

/// The fields without effect, in the order of the lines.
pub fn without_effect(desired: &[Desired]) -> Vec<Mistake> {
    let models = desired.iter().filter(|one| one.kind == Kind::Model);
    let without = models.filter(|one| {
        let has_rules = one.normal.get(RULES).and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        // Neither a tenant nor a request can choose rules.
        has_rules && one.normal.get("strategy").and_then(Value::as_str) != Some(RULES)
    });
    in_order(without.map(|one| one.mistake(RULES, NOT_BY_RULES)).collect())
}
