//! Forgeries of the route: the targets, why each was left out, who chose their order, and the calls.

use super::Forgery;

pub const ROUTE: &[Forgery] = &[
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
        what: "route.left_out",
    },
    Forgery {
        name: "a target was in another region, and was left out for a reason that is not known",
        of: "termed",
        statement: "UPDATE events SET payload = iif(event_type = 'model.created', json_set(payload, '$.targets[1].region', 'us'), \
                    json_patch(payload, json_object('route', json_object('left_out', (SELECT json_group_object(key, 'for_a_later_reason') \
                    FROM json_each(payload, '$.versions.prices')))))) \
                    WHERE (event_type = 'model.created' AND aggregate_id = ':shared-model') \
                    OR (event_type = 'inference.admitted' AND aggregate_id = ':termed')",
        part: "route",
        what: "route.left_out",
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
        what: "route.left_out",
    },
    Forgery {
        name: "the shared model stated another region",
        of: "owned",
        statement: "UPDATE events SET payload = json_set(payload, '$.targets[1].region', 'us') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shared-model'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "the model is the tenant's own claim",
        of: "owned",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.terms.stated_by', (SELECT json_group_object(key, \
                    json_array(json_extract(payload, '$.versions.model'))) FROM json_each(payload, '$.route.terms.stated_by'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':owned'",
        part: "route",
        what: "route.left_out",
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
        name: "the request's choice was the tenant's",
        of: "requested",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.chosen_by', 'tenant') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':requested'",
        part: "route",
        what: "route.strategy",
    },
    Forgery {
        name: "the key could not choose",
        of: "requested",
        statement: "UPDATE events SET payload = json_set(payload, '$.permissions', json_array('models:use')) \
                    WHERE event_type = 'key.created' AND aggregate_id = ':choosing-key'",
        part: "route",
        what: "route.chosen_by",
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
        name: "another target answered",
        of: "plain",
        statement: "UPDATE events SET payload = json_set(payload, '$.backend.model', 'another') \
                    WHERE event_type = 'inference.completed'",
        part: "route",
        what: "backend",
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
        name: "the breaker of the target that was called first was open",
        of: "second",
        statement: "UPDATE events SET payload = json_set(payload, '$.route', json_object('strategy', 'priority', 'left_out', \
                    json_object(':provider/e500', 'breaker_open'))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':second'",
        part: "route",
        what: "backend",
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
        name: "the figures of a rule are gone",
        of: "ruled",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route.figures') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':ruled'",
        part: "route",
        what: "route.figures",
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
        name: "the canary was not first",
        of: "tried",
        statement: "UPDATE events SET payload = json_remove(payload, '$.route') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':tried'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "the canary was first",
        of: "untried",
        statement: "UPDATE events SET payload = json_set(payload, '$.route', json_object('strategy', 'priority', 'canary', ':provider/usage-10-5-15')) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':untried'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "the canary was first and its breaker was open",
        of: "tried",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.left_out', json_object(json_extract(payload, '$.route.canary'), 'breaker_open')) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':tried'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "the canary was first and under maintenance",
        of: "tried",
        statement: "UPDATE events SET payload = json_set(payload, '$.route.left_out', json_object(json_extract(payload, '$.route.canary'), 'maintenance')) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':tried'",
        part: "route",
        what: "route.left_out",
    },
    Forgery {
        name: "the model had no canary",
        of: "tried",
        statement: "UPDATE events SET payload = json_remove(payload, '$.canary') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':trying-model'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "another target was the canary",
        of: "tried",
        statement: "UPDATE events SET payload = json_set(payload, '$.canary.model', 'e500') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':trying-model'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "the share was smaller",
        of: "tried",
        statement: "UPDATE events SET payload = json_set(payload, '$.canary.share_percent', 0) \
                    WHERE event_type = 'model.created' AND aggregate_id = ':trying-model'",
        part: "route",
        what: "route.canary",
    },
    Forgery {
        name: "the share was greater",
        of: "untried",
        statement: "UPDATE events SET payload = json_set(payload, '$.canary.share_percent', 100) \
                    WHERE event_type = 'model.created' AND aggregate_id = ':trying-model'",
        part: "route",
        what: "route.canary",
    },
];
