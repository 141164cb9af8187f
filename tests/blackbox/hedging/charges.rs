//! Costs of hedged requests where nobody knows what their calls used, and what is said that they would cost.

use tokio::sync::watch;

use super::*;
use crate::books::usd;

impl House {
    /// The calls of these backends end when `true` is sent.
    fn until_told(&self) -> watch::Sender<bool> {
        let (tell, told) = watch::channel(false);
        self.upstream.on_request(move |seen| {
            let mut told = told.clone();
            async move {
                if seen.model() != "gate" {
                    let _ = told.wait_for(|told| *told).await;
                }
            }
        });
        tell
    }

    /// The calls of these backends end one after the other, as many as are told.
    fn until_told_in_order(&self, models: [&'static str; 2]) -> watch::Sender<usize> {
        let (tell, told) = watch::channel(0);
        self.upstream.on_request(move |seen| {
            let (mut told, at) = (told.clone(), models.iter().position(|model| *model == seen.model()));
            async move {
                if let Some(at) = at {
                    let _ = told.wait_for(|told| *told > at).await;
                }
            }
        });
        tell
    }

    /// The client of a whole answer of this model leaves when this backend has been called, and then its calls end. Returns the life of
    /// the request.
    async fn left_during(&self, model: &str, backend: &str, ends: impl FnOnce()) -> Vec<Value> {
        self.upstream.forget();
        let mut clients = JoinSet::new();
        let (client, body) = (self.gateway.client(Some(&self.tenant.secret)), self.tenant.ask(model));
        clients.spawn(async move {
            let _ = client.try_post(NATIVE, &body).await;
        });
        self.upstream.until_seen(backend, 1).await;
        clients.shutdown().await;
        until_metric_is(&self.gateway, "ledgerway_abandoned_calls", 1).await;
        ends();
        let books = self.gateway.books_when_all_ended(ENDED_MAX).await;
        assert_eq!(books.admitted().len(), 1);
        let request = books.admitted().iter().next().expect("a request").clone();
        self.gateway.life(&request).await
    }
}

/// Holds: inf.hedges, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn both_calls_that_break_off_after_their_client_left_are_charged() {
    let house = House::new("openai", &["close", "halfjson"], &[]).await;
    house.hedged("m", &["close", "halfjson"], 100).await;
    let tell = house.until_told();
    let life = house.left_during("m", "halfjson", || assert_eq!(tell.send(true), Ok(()))).await;
    let failed = all_of(&life, "inference.attempt_failed.v1");
    assert_eq!(failed.len(), 1, "{life:?}");
    let aborted = of_type(&life, "inference.aborted.v1");
    assert_eq!((&failed[0]["usage"]["source"], &aborted["usage"]["source"]), (&json!("unknown"), &json!("unknown")));
    // Both targets have one price, so that each is half of the hold.
    assert_eq!(nano(&failed[0]["cost_usd"]), held(&life) / 2, "{life:?}");
    assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), held(&life), "{life:?}");
    let request = request_of(&life);
    house.must_be_sound(&[request]).await;
}

/// Holds: inf.hedges, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_breaks_off_after_its_client_left_is_charged_beside_the_answer_of_the_other_one() {
    for models in [["close", "gate"], ["gate", "close"]] {
        let house = House::new("openai", &models, &[]).await;
        house.hedged("m", &models, 100).await;
        let tell = house.until_told();
        let ends = || {
            assert_eq!(tell.send(true), Ok(()));
            std::thread::sleep(Duration::from_millis(500));
            house.upstream.open_gate();
        };
        let life = house.left_during("m", models[1], ends).await;
        let failed = of_type(&life, "inference.attempt_failed.v1");
        let attempt = if models[0] == "close" { 1 } else { 2 };
        assert_eq!((&failed["attempt"], &failed["reason"]), (&json!(attempt), &json!("closed")), "{life:?}");
        assert_eq!(
            (&failed["usage"]["source"], nano(&failed["cost_usd"])),
            (&json!("unknown"), held(&life) / 2),
            "{life:?}"
        );
        let charged = nano(&of_type(&life, "budget.settled.v1")["charged_usd"]);
        assert_eq!(charged, held(&life) / 2 + ANSWER_COST, "{life:?}");
        let request = request_of(&life);
        house.must_be_sound(&[request]).await;
    }
}

/// Holds: inf.hedges, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_breaks_off_after_its_client_left_is_charged_beside_the_failure_of_the_other_one() {
    for models in [["close", "e500"], ["e500", "close"]] {
        let house = House::new("openai", &models, &[]).await;
        house.hedged("m", &models, 100).await;
        let tell = house.until_told_in_order(models);
        let ends = || {
            assert_eq!(tell.send(1), Ok(()));
            std::thread::sleep(Duration::from_millis(500));
            assert_eq!(tell.send(2), Ok(()));
        };
        let life = house.left_during("m", models[1], ends).await;
        let failed = all_of(&life, "inference.attempt_failed.v1");
        let refused = failed.iter().find(|failed| failed["status"] == 500).expect("the other call");
        let aborted = of_type(&life, "inference.aborted.v1");
        // The one that broke off may have been answered: if it came first, it is left over, and otherwise the request ends with it.
        let unknown = failed.iter().find(|failed| failed["reason"] == "closed").unwrap_or(&aborted);
        assert_eq!(unknown["usage"]["source"], "unknown", "{life:?}");
        assert_eq!(unknown["backend"]["model"], "close", "{life:?}");
        assert_eq!((&refused["backend"]["model"], &refused["usage"]), (&json!("e500"), &Value::Null), "{life:?}");
        assert_eq!(nano(&of_type(&life, "budget.settled.v1")["charged_usd"]), held(&life) / 2, "{life:?}");
        let request = request_of(&life);
        house.must_be_sound(&[request]).await;
    }
}

/// Holds: inf.hedges, inf.abandoned
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_alone_costs_no_more_than_without_hedging_if_nobody_knows_what_it_used() {
    for (after, part) in [(json!(60_000), 2), (Value::Null, 1)] {
        let house = House::new("openai", &["close", "ok"], &[]).await;
        house.hedged("m", &["close", "ok"], after).await;
        let tell = house.until_told();
        let life = house.left_during("m", "close", || assert_eq!(tell.send(true), Ok(()))).await;
        let aborted = of_type(&life, "inference.aborted.v1");
        assert_eq!((&aborted["usage"]["source"], aborted.get("hedge")), (&json!("unknown"), None), "{life:?}");
        let charged = nano(&of_type(&life, "budget.settled.v1")["charged_usd"]);
        assert_eq!(charged, held(&life) / part, "{life:?}");
        let request = request_of(&life);
        house.must_be_sound(&[request]).await;
    }
}

/// A lower cap lets in a target that is dearer, and that may be called beside the first one.
///
/// Holds: http.affordable
#[tokio::test(flavor = "multi_thread")]
async fn the_cap_that_a_refusal_names_is_paid_for_if_both_are_called() {
    let house = House::new("openai", &["ok"], &[]).await;
    let dear = json!({ "provider_id": house.tenant.provider, "model": "dear", "input_usd_per_mtok": "5",
                       "output_usd_per_mtok": "40" });
    made(house.gateway.operator(), "/prices", dear).await;
    house.tenant.price("slow-1").await;
    let mut requests = Vec::new();
    // Beside the target that takes the higher cap, and beside two of them.
    for (name, backends) in [("two", vec!["ok", "dear"]), ("three", vec!["ok", "slow-1", "dear"])] {
        let mut targets = house.targets(&backends);
        for target in &mut targets {
            target["max_output_tokens"] = json!(if target["model"] == "dear" { 2_000 } else { 16_384 });
        }
        let model = json!({ "name": house.tenant.model(name), "targets": targets, "hedge_after_ms": 10_000 });
        made(house.gateway.operator(), "/models", model).await;
        let spent = nano(&house.gateway.budget(&house.tenant.budget).await["settled_usd"]);
        house.tenant.set_limit(&usd(spent + 10_000_000)).await;
        let mut body = house.tenant.ask(name);
        body["max_output_tokens"] = json!(4_000);
        let error = house.tenant.app.post(NATIVE, &body).await.must_be(429, "BUDGET_EXCEEDED").json()["error"].clone();
        let fit = error["details"]["affordable_max_output_tokens"].as_u64().expect("a cap");
        // It is nearly all that is paid for.
        for (cap, status) in [(fit + fit / 5, 429), (fit, 200)] {
            body["max_output_tokens"] = json!(cap);
            let reply = house.tenant.app.post(NATIVE, &body).await.must(status);
            if status == 200 {
                requests.push(reply.request_id());
            }
        }
    }
    house.must_be_sound(&requests).await;
}

/// Holds: inf.hedges, admin.own-charges
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_call_to_a_shared_target_costs_no_more_above_the_tenant_than_is_held_there() {
    let mut house = House::new("anthropic", &["gate"], &[]).await;
    let (operator, tenant) = (house.gateway.operator(), &house.tenant);
    let budget = json!({ "scope": { "partner_id": tenant.partner }, "limit_usd": "1000", "period": "total" });
    made(operator, "/budgets", budget).await;
    let own = json!({ "name": format!("{}-own", tenant.name), "kind": "anthropic", "tenant_id": tenant.id, "api_key": "k",
                      "base_url": house.upstream.base_url("anthropic"), "allow_private_network": true });
    let own = made(operator, "/providers", own).await;
    let price = json!({ "provider_id": own, "model": "ok", "input_usd_per_mtok": "3", "output_usd_per_mtok": "15" });
    made(operator, "/prices", price).await;
    // A document may fill the whole context, which is wider at the tenant's own target.
    let target = |provider: &str, model: &str, priority: u32, window: u64| json!({ "provider_id": provider, "model": model, "priority": priority, "context_window": window });
    let targets = [target(&tenant.provider, "gate", 0, 8192), target(&own, "ok", 1, 100_000)];
    let model =
        json!({ "name": tenant.model("both"), "tenant_id": tenant.id, "targets": targets, "hedge_after_ms": 100 });
    made(operator, "/models", model).await;
    let source = json!({ "type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK" });
    let mut body = tenant.ask("both");
    body["max_tokens"] = json!(256);
    body["messages"][0]["content"] = json!([{ "type": "document", "source": source }]);
    let reply = tenant.app.post(MESSAGES, &body).await.must(200);
    let life = house.gateway.life(&reply.request_id()).await;
    let failed = of_type(&life, "inference.attempt_failed.v1");
    assert_eq!(failed["usage"]["source"], "unknown", "{life:?}");
    let part = &of_type(&life, "budget.settled.v1")["brokered"];
    let (charged, held) = (nano(&part["charged_usd"]), nano(&part["held_usd"]));
    assert_eq!(nano(&failed["cost_usd"]), charged, "{life:?}");
    assert!(0 < charged && charged <= held, "{charged} of {held}: {life:?}");
    house.gateway.stop();
    assert_eq!(house.gateway.verify().0, Some(0), "{}", house.gateway.verify().1);
}
