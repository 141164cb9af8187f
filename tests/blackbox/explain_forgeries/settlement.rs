//! Forgeries of what a request was charged, and of later corrections.

use super::Forgery;

pub const SETTLEMENT: &[Forgery] = &[
    Forgery {
        name: "the charge and the cost are less",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(json_set(payload, '$.charged_usd', '0.000000001'), '$.cost_usd', \
                    '0.000000001') WHERE event_type IN ('inference.completed', 'budget.settled')",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "the charge alone is less",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.charged_usd', '0.000000001') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "charged_usd",
    },
    Forgery {
        name: "the price of input is another",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.input_usd_per_mtok', '300') \
                    WHERE event_type = 'price.created'",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "another price made the cost",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.price_version', 1) \
                    WHERE event_type = 'inference.completed' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "price_version",
    },
    Forgery {
        name: "the hold ended as another one",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.held_usd', '0.012345678') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "held_usd",
    },
    Forgery {
        name: "the hold ended on other budgets",
        of: "plain",
        statement: "UPDATE events SET payload = json_remove(payload, '$.budgets[0]') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "budgets",
    },
    Forgery {
        name: "tokens were not counted",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.usage.output_text_tokens', 1) \
                    WHERE event_type = 'inference.completed' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "a failed call cost something",
        of: "second",
        statement: "UPDATE events SET payload = json_set(payload, '$.cost_usd', '0.000000005') \
                    WHERE event_type = 'inference.attempt_failed' AND aggregate_id = ':second'",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "a correction is of no budget",
        of: "corrected",
        statement: "UPDATE events SET payload = json_set(payload, '$.budgets', json('[]')) \
                    WHERE event_type = 'budget.adjusted' AND aggregate_id = ':corrected'",
        part: "settlement",
        what: "budgets",
    },
    Forgery {
        name: "a hold that nobody ended was charged less",
        of: "lost",
        statement: "UPDATE events SET payload = json_set(json_set(payload, '$.charged_usd', '0.000000000'), '$.cost_usd', \
                    '0.000000000') WHERE event_type IN ('inference.aborted', 'budget.expired') AND aggregate_id = ':lost'",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "a hold that nobody ended was charged by another policy",
        of: "lost",
        statement: "UPDATE events SET payload = json_set(payload, '$.policy', 'release') \
                    WHERE event_type = 'budget.expired' AND aggregate_id = ':lost'",
        part: "settlement",
        what: "cost_usd",
    },
];
