//! Forgeries of what was admitted or refused: who asked, the bound, the hold, and what budgets and limits had left.

use super::Forgery;

pub const ADMISSION: &[Forgery] = &[
    Forgery {
        name: "the price of a request is another",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.request_usd', '0.002') \
                    WHERE event_type = 'price.created'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the price came into force later",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.effective_from', '2126-01-01T00:00:00.000000Z') \
                    WHERE event_type = 'price.created'",
        part: "life",
        what: "not in force yet",
    },
    Forgery {
        name: "other versions of prices are named",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.versions.prices', (SELECT json_group_object(key, value - 1) \
                    FROM json_each(payload, '$.versions.prices'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "bound",
        what: "versions.prices",
    },
    Forgery {
        name: "the hold is less than the bound",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.held_usd', '0.000000001') \
                    WHERE event_type IN ('budget.reserved', 'budget.settled') AND aggregate_id = ':plain'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the hold is more than the bound",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.held_usd', '0.012345678') \
                    WHERE event_type IN ('budget.reserved', 'budget.settled') AND aggregate_id = ':plain'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the cap is another",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.max_output_tokens', 255) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "its choices could have more tokens beyond the cap",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.output_tokens_beyond_cap', 5) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the prompt is longer",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.input_tokens_bound', \
                    (payload ->> '$.input_tokens_bound') + 1) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the budget had nothing left",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.limit_usd', '0.000000001') \
                    WHERE event_type = 'budget.opened' AND aggregate_id = ':budget'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "an earlier request had spent the budget",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.charged_usd', '4.999999999') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':early'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "the hold of an earlier request was never ended",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.held_usd', '-5.000000000') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':early'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "a budget is not named",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.budgets', json('[]')) \
                    WHERE event_type IN ('budget.reserved', 'budget.settled')",
        part: "admission",
        what: "budgets",
    },
    Forgery {
        name: "a window is another",
        of: "plain",
        statement: "UPDATE events SET payload = replace(payload, '\"window_start\":\"20', '\"window_start\":\"19') \
                    WHERE event_type IN ('budget.reserved', 'budget.settled') AND aggregate_id = ':plain'",
        part: "admission",
        what: "budgets",
    },
    Forgery {
        name: "the period of a budget is another",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.period', 'month') \
                    WHERE event_type = 'budget.opened' AND aggregate_id = ':budget'",
        part: "admission",
        what: "budgets",
    },
    Forgery {
        name: "other versions of budgets are named",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.versions.budgets', (SELECT json_group_object(key, value + 1) \
                    FROM json_each(payload, '$.versions.budgets'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "admission",
        what: "versions.budgets",
    },
    Forgery {
        name: "another version of the key is named",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.versions.key', 1) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "life",
        what: "key's version",
    },
    Forgery {
        name: "it was admitted at another time",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.admitted_at', '2020-01-01T00:00:00.000000Z') \
                    WHERE event_type = 'inference.completed'",
        part: "life",
        what: "it was admitted for",
    },
    Forgery {
        name: "an observing budget had enough",
        of: "observed",
        statement: "UPDATE events SET payload = json_remove(payload, '$.would_have_refused') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':observed'",
        part: "admission",
        what: "would_have_refused",
    },
    Forgery {
        name: "an observing budget had spent another amount",
        of: "observed",
        statement: "UPDATE events SET payload = json_set(payload, '$.would_have_refused[0].settled_usd', '0.000000007') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':observed'",
        part: "admission",
        what: "shortfall",
    },
    Forgery {
        name: "an observing budget was one that refuses",
        of: "observed",
        statement: "UPDATE events SET payload = json_set(payload, '$.enforcement', 'hard') \
                    WHERE event_type = 'budget.opened' AND aggregate_id = ':observing'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "the budget that refused was one that observes",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.enforcement', 'observe') \
                    WHERE event_type IN ('budget.opened', 'budget.changed') AND aggregate_id = ':poor'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "the budget that refused had enough",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.limit_usd', '5.000000000') \
                    WHERE event_type = 'budget.changed' AND aggregate_id = ':poor'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "the budget that refused had spent less",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.charged_usd', '0.000000001') \
                    WHERE event_type = 'budget.settled' AND aggregate_id = ':paid'",
        part: "admission",
        what: "shortfall",
    },
    Forgery {
        name: "the client was told another amount",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.settled_usd', '0.000000007') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':refused'",
        part: "admission",
        what: "shortfall",
    },
    Forgery {
        name: "the client was told another limit",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.limit_usd', '0.000000007') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':refused'",
        part: "admission",
        what: "shortfall",
    },
    Forgery {
        name: "the client was told of another budget",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.budget_id', ':budget') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':refused'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "what was refused was less than what was left",
        of: "refused",
        statement: "UPDATE events SET payload = json_set(payload, '$.requested_usd', '0.000000001') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':refused'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "the key held more of what it shares",
        of: "crowded",
        statement: "UPDATE events SET payload = json_set(payload, '$.share.held_usd', '0.000000007') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':crowded'",
        part: "admission",
        what: "shortfall",
    },
    Forgery {
        name: "the share was all of the budget",
        of: "crowded",
        statement: "UPDATE events SET payload = json_set(payload, '$.share.fraction', '1') \
                    WHERE event_type = 'inference.refused' AND aggregate_id = ':crowded'",
        part: "admission",
        what: "decision",
    },
    Forgery {
        name: "no share lowered the cap",
        of: "halved",
        statement: "UPDATE events SET payload = json_remove(payload, '$.hold_shares') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':halved'",
        part: "admission",
        what: "max_output_tokens",
    },
    Forgery {
        name: "the cap was lowered further",
        of: "shrunk",
        statement: "UPDATE events SET payload = json_set(payload, '$.max_output_tokens', \
                    (payload ->> '$.max_output_tokens') - 1) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':shrunk'",
        part: "bound",
        what: "held_usd",
    },
    Forgery {
        name: "the cap that was asked for would have fit",
        of: "shrunk",
        statement: "UPDATE events SET payload = json_set(payload, '$.limit_usd', '5.000000000') \
                    WHERE event_type IN ('budget.opened', 'budget.changed') AND aggregate_id = ':shrinking'",
        part: "admission",
        what: "max_output_tokens",
    },
    Forgery {
        name: "a correction is of another amount",
        of: "corrected",
        statement: "UPDATE events SET payload = json_set(payload, '$.delta_usd', '-0.000000001') \
                    WHERE event_type = 'budget.adjusted' AND aggregate_id = ':corrected'",
        part: "life",
        what: "correct",
    },
    Forgery {
        name: "the corrected price is another",
        of: "corrected",
        statement: "UPDATE events SET payload = json_set(payload, '$.output_usd_per_mtok', '8') \
                    WHERE event_type = 'price.changed'",
        part: "life",
        what: "",
    },
    Forgery {
        name: "an alias was asked for, and its version is not named",
        of: "aliased",
        statement: "UPDATE events SET payload = json_remove(payload, '$.versions.alias') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':aliased'",
        part: "life",
        what: "alias",
    },
];
