//! `ledgerway.v1.Usage`: reports of usage, group by group.

use axum::routing::MethodRouter;
use events::money::NanoUsdSum;
use events::refusal::Refusal;
use futures_util::stream;
use projections::views::usage_by_hour::{COUNTS, Dimension, Sums};
use prost::Message;
use query::{GroupDimension, QueryState, UsageGroup, UsageReport, ValueName};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::call::caller;
use crate::method::streaming;
use crate::proto::report_part::Part;
use crate::proto::{Page, ReportPart, ReportRequest, UsageRow};
use crate::status::failed;

pub fn route(state: QueryState) -> MethodRouter {
    streaming(move |request| report(state.clone(), request))
}

async fn report(state: QueryState, request: Request<ReportRequest>) -> Result<Response<BoxStream<ReportPart>>, Status> {
    let caller = caller(&request)?;
    let asked = parameters(request.into_inner());
    let requester = caller.requester();
    let parts = query::usage_report(state.clone(), caller, asked, rendered).await.map_err(failed)?;
    // What the client has not read yet is in memory here, and counts until it is gone.
    let unread = state.concurrency.count_unread(requester, parts.iter().map(ReportPart::encoded_len).sum());
    let counted = parts.into_iter().map(move |part| {
        let _unread = &unread;
        Ok(part)
    });
    Ok(Response::new(Box::pin(stream::iter(counted))))
}

/// The request as the parameters of `/v1/usage`.
fn parameters(asked: ReportRequest) -> Vec<(String, String)> {
    let ReportRequest {
        group_by,
        from,
        to,
        hour,
        day,
        week,
        month,
        partner,
        tenant,
        user,
        key,
        model,
        provider,
        backend,
        payer,
        metadata,
        limit,
        cursor,
        omit_totals,
        min_position,
    } = asked;
    let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    let named = [
        ("from", from),
        ("to", to),
        ("hour", hour),
        ("day", day),
        ("week", week),
        ("month", month),
        ("partner", partner),
        ("tenant", tenant),
        ("user", user),
        ("key", key),
        ("model", model),
        ("provider", provider),
        ("backend", backend),
        ("payer", payer),
        ("limit", number(limit.into())),
        ("cursor", cursor),
        ("min_position", number(min_position)),
    ];
    let named = named.into_iter().filter(|(_, value)| !value.is_empty());
    let mut parameters: Vec<(String, String)> = named.map(|(name, value)| (name.to_owned(), value)).collect();
    // An empty dimension is refused, as any that does not exist.
    if !group_by.is_empty() {
        parameters.push(("group_by".to_owned(), group_by.join(",")));
    }
    if omit_totals {
        parameters.push(("totals".to_owned(), "false".to_owned()));
    }
    parameters.extend(metadata.into_iter().map(|(name, value)| (format!("metadata.{name}"), value)));
    parameters
}

fn rendered(report: &UsageReport) -> Result<Vec<ReportPart>, Refusal> {
    let [from, to] = report.range().map(Option::unwrap_or_default);
    let next_cursor = report.next_cursor.clone().unwrap_or_default();
    let page = Part::Page(Page { as_of_position: report.as_of_position, from, to, next_cursor });
    let groups = report.groups().map(|group| Ok(Part::Group(row(&group)?)));
    let totals = report.totals().map(|totals| Ok(Part::Totals(sums(totals)?)));
    let parts = std::iter::once(Ok(page)).chain(groups).chain(totals);
    parts.map(|part| part.map(|part| ReportPart { part: Some(part) })).collect()
}

fn row(group: &UsageGroup<'_>) -> Result<UsageRow, Refusal> {
    let mut row = sums(group.sums)?;
    for GroupDimension { dimension, value, name } in &group.dimensions {
        let value = value.map(str::to_owned);
        let name = match name {
            ValueName::Known(name) => Some((*name).to_owned()),
            ValueName::None | ValueName::Unknown => None,
        };
        match dimension {
            Dimension::Hour => row.hour = value,
            Dimension::Day => row.day = value,
            Dimension::Week => row.week = value,
            Dimension::Month => row.month = value,
            Dimension::Partner => (row.partner, row.partner_name) = (value, name),
            Dimension::Tenant => (row.tenant, row.tenant_name) = (value, name),
            Dimension::User => (row.user, row.user_name) = (value, name),
            Dimension::Key => (row.key, row.key_name) = (value, name),
            Dimension::Model => row.model = value,
            Dimension::Provider => row.provider = value,
            Dimension::Backend => row.backend = value,
            Dimension::Payer => row.payer = value,
        }
    }
    let known = group.metadata.iter().filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
    row.metadata = known.collect();
    Ok(row)
}

/// A row with the sums alone.
///
/// Errors: a sum is beyond 64 bits, which protobuf has no number for.
fn sums(sums: &Sums) -> Result<UsageRow, Refusal> {
    let mut counts = [0; COUNTS.len()];
    for ((count, sum), name) in counts.iter_mut().zip(sums.amounts.counts).zip(COUNTS) {
        *count = u64::try_from(sum).map_err(|_| beyond_64_bits(name))?;
    }
    let mut row = UsageRow {
        cost_usd: NanoUsdSum::new(sums.amounts.cost_nanos).to_string(),
        adjusted_usd: NanoUsdSum::new(sums.amounts.adjusted_nanos).to_string(),
        latency_ms_p50: sums.latencies.percentile(50),
        latency_ms_p95: sums.latencies.percentile(95),
        ..UsageRow::default()
    };
    // In the order of `COUNTS`.
    [
        row.requests,
        row.refused,
        row.failed,
        row.input_uncached_tokens,
        row.input_cache_read_tokens,
        row.input_cache_write_tokens,
        row.output_text_tokens,
        row.output_reasoning_tokens,
        row.input_audio_tokens,
        row.input_cache_read_audio_tokens,
        row.output_audio_tokens,
        row.input_image_tokens,
        row.input_cache_read_image_tokens,
        row.output_image_tokens,
        row.citation_tokens,
        row.searches,
        row.input_images,
    ] = counts;
    Ok(row)
}

fn beyond_64_bits(name: &str) -> Refusal {
    let reason = format!("the sum of {name} is beyond 64 bits: narrow the time range, or use GET /v1/usage");
    Refusal::invalid("from", reason)
}
