//! What is published of the question and its answer.

use events::event::admin::Permission;
use http::StatusCode;
use openapi::headers::Said;
use openapi::schema::{self, Shape, object};
use openapi::{Answer, Operation};
use projections::views::usage_by_hour::Dimension;

use super::question::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::described;

pub fn described() -> Operation {
    let names: Vec<&str> = Dimension::ALL.iter().map(|dimension| dimension.as_str()).collect();
    let dimension = schema::one_of(names.iter().copied());
    let group_by = schema::either([dimension, schema::formed(r"^metadata\.[^,]*[^,\s][^,]*$")]);
    let usage = described::permitted("usage", "Usage", "Requests, tokens, cost and latencies", Permission::UsageRead)
        .says(
            "A request counts when it was admitted, a refusal and a correction of a charge when they were made. The answer is \
             for exactly the time from `from` to `to`, narrowed by `hour`, `day`, `week` and `month`, and says both. Parts of \
             an hour are counted from its requests one by one: a range that begins and ends with an hour is answered faster.",
        )
        .says(
            "By metadata, requests are counted one by one: at most 50,000, refused ones among them, out of fewer than \
             100,000 in the time and of the partner, tenant or key that is asked about. A question about more is a 400.",
        )
        .says("Parameters `metadata.NAME` choose the requests that were sent with that value under that name.")
        .query_list(
            "group_by",
            group_by,
            "Any of the dimensions and `metadata.NAME`, comma-separated; one row for all where it is absent",
        )
        .query("hour", described::time_or_date(), "Of the hour that this time lies in")
        .query("day", schema::date(), "Of this day")
        .query("week", schema::date(), "Of the week that this day lies in; weeks begin on Monday")
        .query("month", schema::formed("^[0-9]{4}-(0[1-9]|1[0-2])$"), "Of this month")
        .query("totals", schema::boolean(), "Whether to sum up all groups; true where it is absent")
        .says(
            "As lines, the totals are the last line of the last page; a field `row` tells it (`total`) from the others \
             (`group`). With `totals=false` there is neither.",
        );
    let usage = described::formatted(described::of_dimensions(described::between(usage)));
    let answer = Answer::json("A row a group; times first, then names", page());
    usage
        .paged(LIMIT_DEFAULT, LIMIT_MAX)
        .answers(StatusCode::OK, described::in_lines(answer).with_header(FROM).with_header(TO))
        .defines("UsageRow", row())
}

/// On lines, what a page says in fields of these names.
pub const FROM: Said = ("x-ledgerway-from", schema::time, "On lines: what the answer is for begins here");
pub const TO: Said = ("x-ledgerway-to", schema::time, "On lines: what the answer is for ends before this");

fn page() -> Shape {
    let bound = |description| schema::described(described::nullable_time(), description);
    let next = "Gives the next page as `cursor`; null on the last";
    object()
        .required("as_of_position", schema::described(schema::count(), "The log position that the page reflects"))
        .required("from", bound("What the answer is for begins here; null where it has no beginning"))
        .required("to", bound("What the answer is for ends before this; null where it has no end"))
        .required("items", schema::list(schema::reference("UsageRow"), None))
        .required(
            "totals",
            schema::described(
                schema::nullable(schema::reference("UsageRow")),
                "Of all groups, also those on other pages; null where `totals` is false",
            ),
        )
        .required("next_cursor", schema::described(schema::nullable(schema::string()), next))
        .open()
}

fn row() -> Shape {
    let row = object()
        .required("requests", schema::described(schema::sum(), "Admitted ones"))
        .required("refused", schema::described(schema::sum(), "Not among the requests"))
        .required("failed", schema::described(schema::sum(), "Among the requests"));
    let classes = ["input_uncached", "input_cache_read", "input_cache_write", "output_text", "output_reasoning"];
    let row = classes.iter().fold(row, |row, class| row.required(&format!("{class}_tokens"), schema::sum()));
    let row = row
        .required("cost_usd", schema::money())
        .required("latency_ms_p50", schema::nullable(schema::count()))
        .required("latency_ms_p95", schema::nullable(schema::count()));
    let row = ["partner_name", "tenant_name", "user_name", "key_name"].iter().fold(row, |row, name| {
        let value = schema::nullable(schema::string());
        row.optional(name, schema::described(value, "The name that belongs to the id; null where you may not see it"))
    });
    let row = Dimension::ALL.iter().fold(row, |row, dimension| {
        let value = schema::nullable(schema::string());
        row.optional(dimension.as_str(), schema::described(value, "Where it is grouped by; null where it is not known"))
    });
    row.open()
}
