//! The description of `/v1/usage`.

use events::event::admin::Permission;
use events::usage::TokenClasses;
use http::StatusCode;
use openapi::headers::HeaderSpec;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};
use projections::views::usage_by_hour::Dimension;

use super::question::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::described;

pub fn described() -> Operation {
    let group_by =
        schema::either([schema::one_of(Dimension::words()), schema::formed(r"^metadata\.[^,]*[^,\s][^,]*$")]);
    let usage = described::permitted("usage", "Usage", "Requests, tokens, cost and latencies", Permission::UsageRead)
        .says(
            "A request counts at the time of its admission, a refusal or a correction of a charge at its own. The response \
             covers exactly the time from `from` to `to`, narrowed by `hour`, `day`, `week` and `month`, and states both. Parts \
             of an hour are counted request by request: a range of whole hours is faster.",
        )
        .says(
            "With metadata, requests are counted one by one: at most 50,000, including refused ones, out of fewer than 100,000 \
             in the time range of the partner, tenant or key. A query for more is a 400.",
        )
        .says("Parameters `metadata.NAME` select the requests that were sent with that value of `NAME`.")
        .query_list(
            "group_by",
            group_by,
            "Any of the dimensions and `metadata.NAME`, comma-separated; default: one row for everything",
        )
        .query("hour", described::time_or_date(), "Only the hour that contains this time")
        .query("day", schema::date(), "Only this day")
        .query("week", schema::date(), "Only the week that contains this day; weeks begin on Monday")
        .query("month", schema::formed("^[0-9]{4}-(0[1-9]|1[0-2])$"), "Only this month")
        .query("totals", schema::boolean(), "Whether to return totals of all groups; default: true")
        .says(
            "In NDJSON and CSV, the totals are the last line of the last page, and a field `row` is `total` for it and `group` \
             for the others. With `totals=false` there is neither.",
        );
    let usage = described::as_of(usage);
    let usage = described::formatted(described::of_dimensions(described::between(usage)));
    let answer = Answer::json("One row per group; times first, then names", page());
    usage
        .paged(LIMIT_DEFAULT, LIMIT_MAX)
        .answers(StatusCode::OK, described::in_lines(answer).with_header(FROM).with_header(TO))
        .defines("UsageRow", row())
}

/// Headers of NDJSON and CSV for the page's fields `from` and `to`.
pub const FROM: HeaderSpec = ("x-ledgerway-from", schema::time, "For NDJSON and CSV: start of the time range");
pub const TO: HeaderSpec = ("x-ledgerway-to", schema::time, "For NDJSON and CSV: end of the time range, exclusive");

fn page() -> Shape {
    let bound = |description| schema::described(described::nullable_time(), description);
    let next = "Pass it as `cursor` to get the next page; null on the last one";
    object()
        .required_as("as_of_position", schema::count(), "The log position that the page reflects")
        .required("from", bound("Start of the time range; null if it is open"))
        .required("to", bound("End of the time range, exclusive; null if it is open"))
        .required("items", schema::list(schema::reference("UsageRow"), None))
        .required_as(
            "totals",
            schema::nullable(schema::reference("UsageRow")),
            "Totals of all groups, also on other pages; null if `totals` is false",
        )
        .required_as("next_cursor", schema::nullable(schema::string()), next)
        .open()
}

fn row() -> Shape {
    let row = object()
        .required_as("requests", schema::sum(), "Admitted requests")
        .required_as("refused", schema::sum(), "Not included in `requests`")
        .required_as("failed", schema::sum(), "Admitted requests that failed");
    let row = TokenClasses::NAMES.into_iter().fold(row, |row, class| row.required(class, schema::sum()));
    let row = row
        .required_as("cost_usd", schema::money(), "What was charged, with all corrections of `adjusted_usd`")
        .required_as(
            "adjusted_usd",
            schema::money(),
            "The signed sum of the corrections of charges that `cost_usd` includes: without them, it was `cost_usd` − \
                 `adjusted_usd`. 0 if there are none",
        )
        .required("latency_ms_p50", schema::nullable(schema::count()))
        .required("latency_ms_p95", schema::nullable(schema::count()));
    let row = ["partner_name", "tenant_name", "user_name", "key_name"].iter().fold(row, |row, name| {
        let value = schema::nullable(schema::string());
        row.optional_as(name, value, "The name for the id; null if you may not see it")
    });
    let row = Dimension::ALL.iter().fold(row, |row, dimension| {
        let value = schema::nullable(schema::string());
        row.optional_as(dimension.as_str(), value, "Present if grouped by it; null if unknown")
    });
    row.open()
}
