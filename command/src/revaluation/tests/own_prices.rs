//! Prices of a tenant's own providers move nothing when another price is corrected.

use chrono::{DateTime, TimeDelta, Utc};
use events::event::admin::Price;
use events::event::inference::{AttemptFailed, Backend, InferenceEnded, Versions};
use events::event::{Actor, Chain, Change, Context, Event, Inference, Recorded, Stream, StreamKind};
use events::ids::{PriceId, ProviderId, RequestId};
use events::money::NanoUsd;
use events::time::parse_rfc3339;

use super::samples::{BACKENDS, Call, admitted, failed_call, id, rates, served_by, used};
use crate::revaluation::price_history::PriceHistory;
use crate::revaluation::scan::Scan;

const OWN_PROVIDER: u128 = 2;

fn start() -> DateTime<Utc> {
    parse_rfc3339("2026-11-20T08:00:00Z").unwrap()
}

fn record(log: &mut Vec<Recorded>, context: Context, event: Event) {
    let position = log.len() as u64 + 1;
    let recorded_at = start() + TimeDelta::seconds(30) * i32::try_from(position).unwrap();
    let stream = Stream::new(StreamKind::Price, id::<PriceId>(1));
    log.push(Recorded { position, recorded_at, stream, sequence: position, context, event });
}

fn price(number: u128, provider: u128, nanos: i64) -> Price {
    Price::new(id::<PriceId>(number), id::<ProviderId>(provider), BACKENDS[0], rates(nanos), start())
}

/// Holds: event.revaluation, admin.own-charges
#[test]
fn a_call_of_a_tenants_own_provider_keeps_the_price_that_it_was_charged_by() {
    let (operator, request_id) = (|| Context::of(Actor::Operator), id::<RequestId>(7));
    let of_tenant = || Context::about(Actor::Operator, Chain { tenant: Some(id(1)), ..Chain::default() });
    let in_request = || of_tenant().in_request(request_id);
    let mut log = Vec::new();
    record(&mut log, of_tenant(), Event::from(Change::created(price(1, OWN_PROVIDER, 0))));
    record(&mut log, operator(), Event::from(Change::created(price(2, 1, 2))));
    let target = |provider| format!("{}/{}", id::<ProviderId>(provider), BACKENDS[0]);
    let prices = [(target(OWN_PROVIDER), 1), (target(1), 2)].into_iter().collect();
    let versions = Versions { prices, ..Versions::default() };
    record(&mut log, in_request(), Event::Inference(Inference::Admitted(admitted(versions))));
    let own = Backend { provider_id: id(OWN_PROVIDER), ..served_by(0) };
    let failed = failed_call(&Call { backend: 0, tokens: 4, version: 1, cost: 0 });
    let failed = AttemptFailed { backend: own, ..failed };
    record(&mut log, in_request(), Event::Inference(Inference::AttemptFailed(failed.into())));
    let ended = InferenceEnded {
        backend: Some(served_by(0)),
        usage: Some(used(10)),
        price_version: Some(2),
        ..InferenceEnded::new("m".to_owned(), start(), NanoUsd::new(20))
    };
    record(&mut log, of_tenant(), Event::from(Change::changed(price(1, OWN_PROVIDER, 999))));
    record(&mut log, operator(), Event::from(Change::changed(price(2, 1, 3))));
    record(&mut log, in_request(), Event::Inference(Inference::Completed(ended.into())));

    let mut history = PriceHistory::new(0);
    log.iter().for_each(|recorded| history.fold(recorded));
    let mut scan = Scan::of(history.pending());
    log.iter().for_each(|recorded| scan.take(recorded, &history));
    let values: Vec<_> = scan.due.iter().map(|due| (due.request_id, due.value.version, due.value.cost_usd)).collect();
    assert_eq!(values, [(request_id, 6, NanoUsd::new(30))]);
}
