//! Forgeries of copies: of what, for which model, for whom, and with which terms.

use super::Forgery;

pub const COPIES: &[Forgery] = &[
    Forgery {
        name: "the copy was of another request",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.shadow_of', ':plain') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copy'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the copy was of a copy",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.shadow_of', ':plain') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copied'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the copy was a request of its own",
        of: "copy",
        statement: "UPDATE events SET payload = json_remove(payload, '$.shadow_of') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copy'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the copied request was not answered",
        of: "copy",
        statement: "UPDATE events SET event_type = 'inference.failed' \
                    WHERE event_type = 'inference.completed' AND aggregate_id = ':copied'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the model had no shadow",
        of: "copy",
        statement: "UPDATE events SET payload = json_remove(payload, '$.shadow') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shadowed-model'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the request was not in the share",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.shadow.share_percent', 0) \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shadowed-model'",
        part: "route",
        what: "shadow_of",
    },
    Forgery {
        name: "the shadow was another model",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.shadow.model', 'another') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shadowed-model'",
        part: "route",
        what: "model",
    },
    Forgery {
        name: "the model was a tenant's own, which pays",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.tenant_id', 'ten_00000000000000000000000000000001') \
                    WHERE event_type = 'model.created' AND aggregate_id = ':shadowed-model'",
        part: "route",
        what: "tenant_id",
    },
    Forgery {
        name: "the copied request required a region",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.route', json_object('strategy', 'priority', 'terms', \
                    json_object('request', json_object('residency', 'eu')))) \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copied'",
        part: "route",
        what: "route.terms",
    },
    Forgery {
        name: "something of the content was kept",
        of: "copy",
        statement: "UPDATE events SET payload = json_remove(payload, '$.content_policy') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copy'",
        part: "route",
        what: "content_policy",
    },
    Forgery {
        name: "the copy had metadata",
        of: "copy",
        statement: "UPDATE events SET payload = json_set(payload, '$.metadata.team', 'red') \
                    WHERE event_type = 'inference.admitted' AND aggregate_id = ':copy'",
        part: "route",
        what: "metadata",
    },
];
