//! Each input and each decision of a request, doctored alone.

/// A change of the stored events, and where it shows.
pub struct Forgery {
    pub name: &'static str,
    /// The request that is explained.
    pub of: &'static str,
    pub statement: &'static str,
    pub part: &'static str,
    /// Part of what differs.
    pub what: &'static str,
}

/// In statements, `:name` is an id of the story.
pub const FORGERIES: &[Forgery] = &[
    Forgery {
        name: "the charge and the cost are less",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(json_set(payload, '$.charged_usd', '0.000000001'), '$.cost_usd', \
                    '0.000000001') WHERE event_type IN ('inference.completed', 'budget.settled')",
        part: "settlement",
        what: "cost_usd",
    },
    Forgery {
        name: "the version of the model had been replaced",
        of: "planned",
        statement: "UPDATE events SET recorded_at = recorded_at - iif(aggregate_type = 'model', 60000000, 0), \
                    payload = iif(aggregate_type = 'model', payload, json_set(payload, '$.versions.model', (SELECT position \
                    FROM events WHERE event_type = 'model.created' AND aggregate_id = ':model-planned'))) \
                    WHERE aggregate_id = ':model-planned' OR (aggregate_id = ':planned' AND event_type = 'inference.admitted')",
        part: "route",
        what: "versions.model",
    },
    Forgery {
        name: "the shared model that stated the terms had been replaced",
        of: "owned",
        statement: "UPDATE events SET aggregate_id = ':shared-model', sequence = 2, event_type = 'model.changed', \
                    recorded_at = recorded_at - 60000000 WHERE aggregate_id = ':spare-model'",
        part: "route",
        what: "route.terms.stated_by",
    },
    Forgery {
        name: "a target was in another region",
        of: "termed",
        statement: "UPDATE events SET payload = json_set(payload, '$.targets[1].region', 'us') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shared-model'",
        part: "route",
        what: "route.terms",
    },
    Forgery {
        name: "the target that was left out met the terms",
        of: "termed",
        statement: "UPDATE events SET payload = json_set(payload, '$.targets[0].region', 'eu') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shared-model'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "the tenant required nothing",
        of: "termed",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.terms') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':termed'",
        part: "route",
        what: "route.terms.tenant",
    },
    Forgery {
        name: "the tenant requires something else",
        of: "termed",
        statement: "UPDATE events SET payload = json_set(payload, '$.required_terms.residency', 'us') \
                    WHERE event_type = 'tenant.created' AND aggregate_id = ':strict'",
        part: "route",
        what: "route.terms.tenant",
    },
    Forgery {
        name: "no shared model stated the terms",
        of: "owned",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.terms.stated_by') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':owned'",
        part: "route",
        what: "route.terms",
    },
    Forgery {
        name: "the shared model stated another region",
        of: "owned",
        statement: "UPDATE events SET payload = json_set(payload, '$.targets[1].region', 'us') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shared-model'",
        part: "route",
        what: "route.terms",
    },
    Forgery {
        name: "the model is the tenant's own claim",
        of: "owned",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.terms.stated_by', (SELECT json_group_object(key, \
                    json_array(json_extract(payload, '$.versions.model'))) FROM json_each(payload, '$.route.terms.stated_by'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':owned'",
        part: "route",
        what: "route.terms",
    },
    Forgery {
        name: "another strategy was the tenant's",
        of: "chosen",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.strategy', 'cost') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':chosen'",
        part: "route",
        what: "route.strategy",
    },
    Forgery {
        name: "the tenant had chosen another one",
        of: "chosen",
        statement: "UPDATE events SET payload = json_set(payload, '$.default_strategy', 'cost') \
                    WHERE event_type = 'tenant.created' AND aggregate_id = ':defaulting'",
        part: "route",
        what: "route.strategy",
    },
    Forgery {
        name: "the tenant's strategy was the model's",
        of: "chosen",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.chosen_by') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':chosen'",
        part: "route",
        what: "route.chosen_by",
    },
    Forgery {
        name: "the wish was the tenant's",
        of: "wished",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.chosen_by', 'tenant') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':wished'",
        part: "route",
        what: "route.strategy",
    },
    Forgery {
        name: "the key could not choose",
        of: "wished",
        statement: "UPDATE events SET payload = json_set(payload, '$.permissions', json_array('models:use')) \
                    WHERE event_type = 'key.created' AND aggregate_id = ':wishing-key'",
        part: "route",
        what: "route.chosen_by",
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
        name: "another price made the cost",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.price_version', 1) \
                    WHERE event_type = 'inference.completed' AND aggregate_id = ':plain'",
        part: "settlement",
        what: "price_version",
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
        name: "the cap is another",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.max_output_tokens', 255) \
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
        name: "another version of the model is named",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.versions.model', 1) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':plain'",
        part: "route",
        what: "versions.model",
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
        name: "another target answered",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.backend.model', 'another') \
                    WHERE event_type = 'inference.completed'",
        part: "route",
        what: "backend",
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
        name: "the strategy is another",
        of: "second",
        statement: "UPDATE events SET payload = json_set(payload, '$.strategy', 'weighted', '$.targets[1].weight', 1000000000) \
                    WHERE event_type = 'model.created' AND payload ->> '$.name' LIKE '%/second'",
        part: "route",
        what: "backend",
    },
    Forgery {
        name: "a priority is another",
        of: "second",
        statement: "UPDATE events SET payload = json_set(payload, '$.targets[0].priority', 9) \
                    WHERE event_type = 'model.created' AND payload ->> '$.name' LIKE '%/second'",
        part: "route",
        what: "backend",
    },
    Forgery {
        name: "a target was not one of the model",
        of: "second",
        statement: "UPDATE events SET payload = json_remove(payload, '$.targets[0]') \
                    WHERE event_type = 'model.created' AND payload ->> '$.name' LIKE '%/second'",
        part: "route",
        what: "versions.prices",
    },
    Forgery {
        name: "another target failed",
        of: "second",
        statement: "UPDATE events SET payload = json_set(payload, '$.backend.model', 'another') \
                    WHERE event_type = 'inference.attempt_failed' AND aggregate_id = ':second'",
        part: "route",
        what: "backend",
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
        name: "a correction is of no budget",
        of: "corrected",
        statement: "UPDATE events SET payload = json_set(payload, '$.budgets', json('[]')) \
                    WHERE event_type = 'budget.adjusted' AND aggregate_id = ':corrected'",
        part: "settlement",
        what: "budgets",
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
    Forgery {
        name: "what rules went by is gone",
        of: "ruled",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route",
    },
    Forgery {
        name: "another rule held",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.rule', 0) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.rule",
    },
    Forgery {
        name: "the request was in another language",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.features.language', 'de') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.rule",
    },
    Forgery {
        name: "the rule had another strategy",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.strategy', 'cost') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.strategy",
    },
    Forgery {
        name: "a target outside of the rule could serve",
        of: "ruled",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.left_out') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "a target of the rule was left out",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.left_out', json_object(':provider/e500', 'not_in_rule', ':provider/usage-10-5-15', 'not_in_rule')) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "a target of the rule has another place",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.figures', json_object(':provider/ok', json('[1,0]'), ':provider/e500', json('[0,0]'), ':provider/usage-10-5-15', json('[4294967295,0]'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.figures",
    },
    Forgery {
        name: "the condition of a rule is another",
        of: "ruled",
        statement: "UPDATE events SET payload = json_set(payload, '$.rules[0].when', 'true') \
                    WHERE event_type = 'model.created' AND payload ->> '$.strategy' = 'rules'",
        part: "route",
        what: "route.rule",
    },
    Forgery {
        name: "a target under maintenance could serve",
        of: "planned",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.left_out') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':planned'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "no maintenance was planned",
        of: "planned",
        statement: "UPDATE events SET payload = json_remove(payload, '$.targets[0].maintenance') \
                    WHERE event_type = 'model.changed' AND payload ->> '$.name' LIKE '%/planned'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "maintenance was decided by another time",
        of: "planned",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.decided_at', '2026-01-01T00:00:00.000000Z') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':planned'",
        part: "route",
        what: "route.decided_at",
    },
    Forgery {
        name: "the model was retired",
        of: "planned",
        statement: "UPDATE events SET payload = json_set(payload, '$.deprecated_at', '2026-01-01T00:00:00.000000Z', \
                    '$.retires_at', '2026-01-02T00:00:00.000000Z') \
                    WHERE event_type = 'model.changed' AND payload ->> '$.name' LIKE '%/planned'",
        part: "route",
        what: "model",
    },
    Forgery {
        name: "the alias stood for another model",
        of: "aliased",
        statement: "UPDATE events SET payload = json_set(payload, '$.alias[0].model', 'another') \
                    WHERE event_type = 'model.created' AND payload ->> '$.name' LIKE '%/alias'",
        part: "route",
        what: "route.stands_for",
    },
    Forgery {
        name: "the request was for another alias",
        of: "aliased",
        statement: "UPDATE events SET payload = json_set(payload, '$.versions.alias', (payload ->> '$.versions.model') + 0) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':aliased'",
        part: "route",
        what: "route.stands_for",
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
