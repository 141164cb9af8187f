use std::collections::{BTreeMap, BTreeSet};

use events::event::admin::Model;
use events::event::hold::{BudgetReserved, BudgetSettled};
use events::event::inference::{Backend, InferenceAdmitted, InferenceEnded, InferenceRefused, Versions};
use events::event::{Actor, Chain, Change, Context, Event, Hold, Inference, Recorded, Stream, StreamKind};
use events::ids::TenantId;
use events::money::NanoUsd;
use events::refusal::ErrorCode;
use events::time::{SystemClock, from_micros};
use events::usage::{TokenClasses, Usage, UsageSource};
use events_log::{LogOptions, Note};
use prometheus::TextEncoder;
use uuid::Uuid;

use super::*;
use crate::tables::Tables;

fn id<I: From<Uuid>>(number: u128) -> I {
    I::from(Uuid::from_u128(number))
}

fn recorded(context: Context, event: Event) -> Recorded {
    let stream = Stream::new(StreamKind::Model, 1);
    Recorded { position: 1, recorded_at: from_micros(0), stream, sequence: 1, context, event }
}

fn model(number: u128, tenant_id: Option<TenantId>) -> Event {
    Event::from(Change::created(Model { tenant_id, ..Model::new(id(number), format!("model-{number}"), vec![]) }))
}

/// Admission, hold and settlement of a request that a tenant made of this model.
fn asked(number: u128) -> Vec<Recorded> {
    let chain = Chain { tenant: Some(id(7)), ..Chain::default() };
    let context = Context::about(Actor::Operator, chain).in_request(id(number));
    let admitted = InferenceAdmitted {
        model: format!("model-{number}"),
        dialect: "native".into(),
        streamed: false,
        max_output_tokens: 1,
        requested_max_output_tokens: None,
        output_tokens_beyond_cap: None,
        input_tokens_bound: 1,
        body_sha256: String::new(),
        prompt_digest: None,
        content_policy: events::content::ContentPolicy::default(),
        metadata: BTreeMap::new(),
        versions: Versions::default(),
        would_have_refused: Vec::new(),
        rate_limited_tokens: None,
        hedge_after_ms: None,
        route: None,
        shadow_of: None,
        hold_shares: Default::default(),
    };
    let (held_usd, charged_usd) = (NanoUsd::new(1000), NanoUsd::new(400));
    let reserved = BudgetReserved { held_usd, budgets: vec![], expires_at: from_micros(0), brokered: None };
    let settled = BudgetSettled { held_usd, charged_usd, budgets: vec![], overrun_usd: None, brokered: None };
    [
        Event::Inference(Inference::Admitted(Box::new(admitted))),
        Event::Hold(Hold::Reserved(Box::new(reserved))),
        Event::Hold(Hold::Settled(Box::new(settled))),
    ]
    .map(|event| recorded(context.clone(), event))
    .into()
}

/// Holds: query.metrics
#[test]
fn a_thousand_models_have_a_hundred_labels_and_none_has_a_tenants_own_or_a_clients_word() {
    let (registry, money) = (Registry::new(), Arc::<MoneyCounters>::default());
    let mut series = Series::register(&registry, Arc::clone(&money)).expect("new names");
    let mut tables = Tables::default();
    let tenants_own = model(5000, Some(id(7)));
    for event in (0..1000).map(|number| model(number, None)).chain([tenants_own]) {
        tables.fold(&recorded(Context::of(Actor::Operator), event));
    }
    // Model 6000 does not exist.
    for event in (0..1000).chain([5000, 6000]).flat_map(asked) {
        series.count(&event, &tables);
    }
    let mut text = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
    money.write(&mut text);
    let labels: BTreeSet<&str> = text.split("model=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(labels.len(), series::MODELS_MAX + 2, "{labels:?}");
    assert!(labels.contains("other") && labels.contains("tenant-owned") && !text.contains("model-5000"), "{labels:?}");
    assert!(text.contains("ledgerway_settled_usd_total{model=\"other\"} 0.000360400\n"), "{text}");
    assert!(text.contains("ledgerway_held_usd_total{model=\"tenant-owned\"} 0.000001000\n"), "{text}");
}

/// Holds: query.metrics
#[test]
fn an_answer_that_broke_off_is_its_providers_failure_and_one_that_was_not_recorded_is_not() {
    let registry = Registry::new();
    let mut series = Series::register(&registry, Arc::default()).expect("new names");
    for (code, reason) in [(ErrorCode::UpstreamError, "cut_off"), (ErrorCode::LedgerUnavailable, "not_recorded")] {
        let ended = InferenceEnded {
            backend: Some(Backend {
                provider_id: id(1),
                provider: "p".into(),
                model: "m".into(),
                provider_key_id: None,
            }),
            usage: Some(Usage::new(
                TokenClasses { input_audio_tokens: 7, searches: 3, ..TokenClasses::default() },
                UsageSource::Counted,
            )),
            attempts: Some(1),
            code: Some(code.as_str().into()),
            reason: Some(reason.into()),
            ..InferenceEnded::new("m".into(), from_micros(0), NanoUsd::ZERO)
        };
        let context = Context::of(Actor::Operator).in_request(id(1));
        series.count(&recorded(context, Event::Inference(Inference::Failed(Box::new(ended)))), &Tables::default());
    }
    let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
    assert!(text.contains("ledgerway_tokens_total{class=\"input_audio\",model=\"other\"} 14\n"), "{text}");
    assert!(!text.contains("output_audio") && !text.contains("searches"), "what is not billed has no series: {text}");
    let failures = text.lines().filter(|line| line.starts_with("ledgerway_upstream_failures_total{"));
    let failures: Vec<_> = failures.collect();
    assert!(matches!(failures[..], [line] if line.contains("reason=\"cut_off\"") && line.ends_with(" 1")), "{text}");
}

/// Records `count` refusals, one commit each.
fn refuse(log: &Log, count: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for number in 0..count {
        let refused = InferenceRefused {
            code: ErrorCode::ModelNotFound,
            model: "unheard-of".into(),
            count: 1,
            scoped_by: None,
            details: serde_json::Map::new(),
        };
        let stream = Stream::inference(id(u128::from(number)));
        let event = Event::Inference(Inference::Refused(Box::new(refused)));
        let note = Note { stream, context: Context::of(Actor::Operator), event };
        runtime.block_on(log.note(vec![note])).expect("it is recorded");
    }
}

#[tokio::test]
async fn events_that_left_the_tail_are_read_from_the_database() {
    const TAIL_BATCHES: u64 = 1024;
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(folder.path(), LogOptions::new(Arc::new(SystemClock::new()))).expect("a log");
    let (tables, _tables_task) = crate::tables::start(&log).await.expect("tables");
    refuse_elsewhere(&log, 1);
    let registry = Registry::new();
    let (figures, figures_task) = start(&log, &tables, &registry).expect("new names");
    // This blocks the test's only thread, so that the counter does not follow meanwhile.
    refuse_elsewhere(&log, TAIL_BATCHES + 100);
    figures.wait_for(log.head().position).await;
    let text = TextEncoder::new().encode_to_string(&registry.gather()).expect("a text");
    let wanted = format!(
        "ledgerway_requests_refused_total{{code=\"MODEL_NOT_FOUND\",model=\"other\"}} {}\n",
        TAIL_BATCHES + 100
    );
    assert!(text.contains(&wanted), "{text}");
    figures_task.stop().await;
}

fn refuse_elsewhere(log: &Log, count: u64) {
    std::thread::scope(|scope| scope.spawn(|| refuse(log, count)).join()).expect("they are recorded");
}
