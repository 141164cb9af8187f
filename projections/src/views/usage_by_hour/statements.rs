//! The statements for questions about usage. Whole hours are read from `usage_by_hour`. For parts of an hour the requests in
//! them are read as well, by the most selective index.

use super::selection::Selection;
use crate::views::request_filter::Narrowest;
use crate::visible::Visible;

/// The statements for one way to read.
#[derive(Clone, Copy)]
pub struct UsageStatements {
    pub sums: &'static str,
    pub refused: &'static str,
    /// One histogram per row, for each hour and combination of dimensions. They are added up in Rust, not in SQL.
    pub latencies: &'static str,
    /// One request per row, for parts of an hour.
    pub single_latencies: Option<&'static str>,
}

const LATENCIES: &str = concat!(
    include_str!("select.sql"),
    "       latency_ms, latency_requests\nFROM rows_usage_latency\n",
    include_str!("filters.sql"),
    "  AND hour >= :from AND hour < :to\n"
);

/// The sums of the hours, and of the rows of further queries.
macro_rules! sums {
    ($($more:tt)*) => {
        concat!(
            include_str!("select.sql"),
            include_str!("sums.sql"),
            "FROM (\n",
            include_str!("hours.sql"),
            $($more)*
            ")\n",
            include_str!("filters.sql"),
            include_str!("page.sql")
        )
    };
}

/// The refused requests of the hours, and of the rows of further queries.
macro_rules! refused {
    ($($more:tt)*) => {
        concat!(
            include_str!("select.sql"),
            "       exact_sums(refused)\nFROM (\n",
            include_str!("hours.sql"),
            $($more)*
            ")\n",
            include_str!("filters.sql"),
            include_str!("refused_page.sql")
        )
    };
}

/// The statements for whole hours.
const WHOLE: UsageStatements =
    UsageStatements { sums: sums!(), refused: refused!(), latencies: LATENCIES, single_latencies: None };

/// The statements for ranges with parts of an hour, by one index.
macro_rules! exact {
    ($($index:tt)*) => {
        UsageStatements {
            sums: sums!(
                "    UNION ALL\n", include_str!("requests.sql"), $($index)*,
                "    UNION ALL\n", include_str!("other_usage.sql"), $($index)*,
            ),
            refused: refused!("    UNION ALL\n", include_str!("other_usage.sql"), $($index)*,),
            latencies: LATENCIES,
            single_latencies: Some(concat!(
                include_str!("select.sql"),
                "       latency_ms\nFROM (\n",
                include_str!("requests.sql"),
                $($index)*,
                ")\n",
                include_str!("filters.sql"),
                "  AND latency_ms IS NOT NULL\n"
            )),
        }
    };
}

const BY_KEY: UsageStatements = exact!(include_str!("by_key.sql"));
const BY_TENANT: UsageStatements = exact!(include_str!("by_tenant.sql"));
const BY_PARTNER: UsageStatements = exact!(include_str!("by_partner.sql"));
const BY_TIME: UsageStatements = exact!("");

impl UsageStatements {
    pub fn of(visible: Visible, selection: &Selection) -> Self {
        if !selection.range.parts().has_partial_hours() {
            return WHOLE;
        }
        match selection.requests.narrowest(visible) {
            Narrowest::Key => BY_KEY,
            Narrowest::Tenant => BY_TENANT,
            Narrowest::Partner => BY_PARTNER,
            Narrowest::Everything => BY_TIME,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::tests::plan;

    const SCHEMA: &str = concat!(
        include_str!("../../../../migrations/sqlite/views/0003_usage_by_hour.sql"),
        include_str!("../../../../migrations/sqlite/views/0004_inferences.sql")
    );

    #[test]
    fn reads_are_bound_by_time_and_by_the_most_selective_index() {
        let hours = "SEARCH rows_usage_by_hour USING PRIMARY KEY (hour>? AND hour<?)";
        for (exact, of_requests, of_others) in [
            (BY_KEY, "inferences_by_key (key_id=? AND position>? AND position<?)", "other_usage_by_key (key_id=? AND"),
            (BY_TENANT, "inferences_by_tenant (tenant_id=? AND position>?", "other_usage_by_tenant (tenant_id=? AND"),
            (
                BY_PARTNER,
                "inferences_by_partner (partner_id=? AND position>?",
                "other_usage_by_partner (partner_id=? AND",
            ),
            (
                BY_TIME,
                "inferences USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
                "other_usage_by_time (recorded_at>? AND",
            ),
        ] {
            let has = |sql: &str, bounds: &[&str]| {
                let steps = plan::of(SCHEMA, sql);
                for bound in bounds {
                    assert!(steps.iter().any(|step| step.contains(bound)), "{bound}: {steps:?}");
                }
                assert!(
                    !steps.iter().any(|step| step.starts_with("SCAN rows_inf") || step.starts_with("SCAN rows_o")),
                    "{steps:?}"
                );
            };
            has(exact.sums, &[hours, of_requests, of_others]);
            has(exact.refused, &[hours, of_others]);
            has(exact.single_latencies.expect("a statement"), &[of_requests]);
        }
        assert!(plan::of(SCHEMA, WHOLE.sums).iter().any(|step| step.contains(hours)));
    }
}
