use std::time::Duration;

use dialects::Surface;
use events::content::ContentSalts;
use serde_json::json;

use super::*;
use crate::admin::tests::lab::Lab;
use crate::inference::received::reading::parse;
use crate::inference::targets::breakers::{BreakerSettings, Breakers};
use crate::inference::targets::observed_targets::ObservedTargets;

/// A body is written again only if the new plan's first target gets another one.
#[tokio::test]
async fn a_plan_has_the_first_body_of_a_stale_one_unless_its_first_target_takes_another() {
    let lab = Lab::new().await;
    let provider = |name: &str| json!({ "name": name, "kind": "simulator" });
    let (first, other) =
        (lab.make("/providers", provider("first")).await, lab.make("/providers", provider("other")).await);
    let price = |provider: &str, model: &str, input: &str| {
        json!({ "provider_id": provider, "model": model,
                "input_usd_per_mtok": input, "output_usd_per_mtok": "1" })
    };
    for (provider, model) in [(&first, "echo"), (&first, "lorem"), (&other, "echo")] {
        lab.make("/prices", price(provider, model, "1")).await;
    }
    let targets = |targets: &[(&str, &str)]| {
        let of = |(provider, model): &(&str, &str)| json!({ "provider_id": provider, "model": model });
        targets.iter().map(of).collect::<Vec<_>>()
    };
    let model = json!({ "name": "m", "targets": targets(&[(&first, "echo")]) });
    let model = format!("/v1/admin/models/{}", lab.make("/models", model).await);
    let body = json!({ "model": "m", "max_tokens": 5, "messages": [{ "role": "user", "content": "hello" }] });
    let (request, _) = parse(Surface::OpenAi, body.to_string().into()).unwrap();
    let clock = || Arc::clone(&lab.admin.clock);
    let observed = ObservedTargets::new(clock());
    let settings = BreakerSettings { failures: 5, open: Duration::from_secs(60) };
    let breakers = Breakers::new(settings, lab.admin.log.clone(), lab.admin.tables.clone(), clock());
    let salts = ContentSalts::new(b"secret");
    let node = NodeKnowledge { observed: &observed, breakers: &breakers, salts: &salts, counted: None };
    let planned = || {
        let (tables, now) = (lab.admin.tables.load(), lab.admin.clock.now());
        super::plan(&tables, &lab.operator(), &request, lab.admin.ids.make(), now, node).unwrap()
    };
    let mut stale = planned();
    lab.make("/prices", price(&first, "echo", "2")).await;
    lab.wait(1);
    assert!(planned().has_first_body_of(&stale), "another price");
    for (change, is_same) in [
        (json!({ "targets": targets(&[(&first, "echo"), (&other, "echo")]) }), true),
        (json!({ "targets": targets(&[(&other, "echo"), (&first, "echo")]) }), true),
        (json!({ "targets": targets(&[(&first, "lorem")]) }), false),
        (json!({ "system_prefix": "Be brief." }), false),
        (json!({ "system_prefix": "Be long." }), false),
        (json!({ "strategy": "weighted" }), true),
    ] {
        lab.send(&lab.operator(), "PATCH", &model, &change).await.must(200);
        let fresh = planned();
        assert_eq!(fresh.has_first_body_of(&stale), is_same, "{change}");
        stale = fresh;
    }
}
