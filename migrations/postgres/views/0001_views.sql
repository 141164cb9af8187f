-- What analysts read, in a schema of its own beside the ledger: copies of the nodes' views in plain SQL types. The copier
-- (`outlets/analysts`) writes the tables of `views_rows`; analysts see the SQL views of `views`, which put names beside ids, so
-- that a new name changes one row. Everything here can be dropped and is copied again from the nodes' views.
--
-- Dollars: numeric(20,9) for one amount, numeric(38,9) for sums, which may outgrow it. Counts of tokens: numeric(38,0), since
-- what a provider reports may exceed a bigint. Unknown dimensions of a key are '' in `views_rows` and null in `views`.
CREATE SCHEMA views_rows;
CREATE SCHEMA views;
COMMENT ON SCHEMA views IS 'What the gateway did, for analysts. views.position says as of which position of the log';

-- One row: the version of this layout, and which ledger is copied: the token of its first batch; null before there is one.
CREATE TABLE views_rows.layout (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL,
    ledger   uuid
);
INSERT INTO views_rows.layout (version) VALUES (1);

-- How far each view is copied. It moves in the transaction that copies the rows, and only from where the copier believes it to
-- be: of two copiers one fails. token: that of the lease; an older one never moves it again.
CREATE TABLE views_rows.copied (
    view        text   COLLATE "C" PRIMARY KEY,
    version     bigint NOT NULL,                   -- of the view's rows; 0 before the first copy
    position    bigint NOT NULL,
    recorded_at bigint NOT NULL,                   -- of the event there, in microseconds since 1970-01-01 UTC
    file        text   NOT NULL,                   -- which file of a node the rows come from
    swaps       bigint NOT NULL,                   -- how often a rebuild had replaced the rows in that file
    token       bigint NOT NULL
);
INSERT INTO views_rows.copied (view, version, position, recorded_at, file, swaps, token)
    SELECT view, 0, 0, 0, '', 0, 0
    FROM unnest(ARRAY['budgets', 'usage_by_hour', 'inferences', 'audit', 'catalogue']) AS view;

CREATE TABLE views_rows.usage_by_hour (
    hour                          timestamptz NOT NULL,
    tenant_id                     text COLLATE "C" NOT NULL,
    key_id                        text COLLATE "C" NOT NULL,
    model                         text COLLATE "C" NOT NULL,
    backend                       text COLLATE "C" NOT NULL,
    partner_id                    text COLLATE "C" NOT NULL,
    user_id                       text COLLATE "C" NOT NULL,
    provider                      text COLLATE "C" NOT NULL,
    payer                         text COLLATE "C" NOT NULL,
    requests                      bigint NOT NULL,
    refused                       numeric(38,0) NOT NULL,
    failed                        bigint NOT NULL,
    input_uncached_tokens         numeric(38,0) NOT NULL,
    input_cache_read_tokens       numeric(38,0) NOT NULL,
    input_cache_write_tokens      numeric(38,0) NOT NULL,
    output_text_tokens            numeric(38,0) NOT NULL,
    output_reasoning_tokens       numeric(38,0) NOT NULL,
    input_audio_tokens            numeric(38,0) NOT NULL,
    input_cache_read_audio_tokens numeric(38,0) NOT NULL,
    output_audio_tokens           numeric(38,0) NOT NULL,
    input_image_tokens            numeric(38,0) NOT NULL,
    input_cache_read_image_tokens numeric(38,0) NOT NULL,
    output_image_tokens           numeric(38,0) NOT NULL,
    citation_tokens               numeric(38,0) NOT NULL,
    searches                      numeric(38,0) NOT NULL,
    input_images                  numeric(38,0) NOT NULL,
    cost_usd                      numeric(38,9) NOT NULL,
    adjusted_usd                  numeric(38,9) NOT NULL,
    latency_ms                    bigint[],
    latency_requests              bigint[],
    -- Names may be longer than an entry of an index. With the lengths before them, different names make different texts; the casts
    -- make bytes of them, since a generated column has to be immutable, which convert_to is not.
    names_sha256                  bytea NOT NULL GENERATED ALWAYS AS (
        sha256(replace(length(model)::text || ' ' || length(backend)::text || ' ' || model || backend || provider, '\', '\\')::bytea)
    ) STORED,
    PRIMARY KEY (hour, tenant_id, key_id, partner_id, user_id, payer, names_sha256)
) WITH (fillfactor = 80);

CREATE TABLE views_rows.requests (
    position                      bigint NOT NULL,
    request_id                    text COLLATE "C" NOT NULL,
    recorded_at                   timestamptz NOT NULL,
    status                        text COLLATE "C" NOT NULL,
    partner_id                    text COLLATE "C",
    tenant_id                     text COLLATE "C",
    user_id                       text COLLATE "C",
    key_id                        text COLLATE "C",
    model                         text COLLATE "C" NOT NULL,
    provider                      text COLLATE "C",
    backend                       text COLLATE "C",
    payer                         text COLLATE "C",
    cost_usd                      numeric(38,9) NOT NULL,
    corrected_usd                 numeric(38,9) NOT NULL,
    input_uncached_tokens         numeric(38,0) NOT NULL,
    input_cache_read_tokens       numeric(38,0) NOT NULL,
    input_cache_write_tokens      numeric(38,0) NOT NULL,
    output_text_tokens            numeric(38,0) NOT NULL,
    output_reasoning_tokens       numeric(38,0) NOT NULL,
    input_audio_tokens            numeric(38,0) NOT NULL,
    input_cache_read_audio_tokens numeric(38,0) NOT NULL,
    output_audio_tokens           numeric(38,0) NOT NULL,
    input_image_tokens            numeric(38,0) NOT NULL,
    input_cache_read_image_tokens numeric(38,0) NOT NULL,
    output_image_tokens           numeric(38,0) NOT NULL,
    citation_tokens               numeric(38,0) NOT NULL,
    searches                      numeric(38,0) NOT NULL,
    input_images                  numeric(38,0) NOT NULL,
    latency_ms                    bigint,
    hold_position                 bigint,
    outcome_position              bigint,
    hold_end_position             bigint,
    PRIMARY KEY (position)
) WITH (fillfactor = 85);
CREATE INDEX requests_by_time ON views_rows.requests (recorded_at);
CREATE INDEX requests_by_tenant ON views_rows.requests (tenant_id, recorded_at);
CREATE INDEX requests_by_id ON views_rows.requests (request_id);

CREATE TABLE views_rows.other_usage (
    position    bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    partner_id  text COLLATE "C",
    tenant_id   text COLLATE "C",
    user_id     text COLLATE "C",
    key_id      text COLLATE "C",
    model       text COLLATE "C",
    provider    text COLLATE "C",
    backend     text COLLATE "C",
    payer       text COLLATE "C",
    refused     numeric(38,0) NOT NULL,
    cost_usd    numeric(20,9) NOT NULL,
    PRIMARY KEY (position)
);
CREATE INDEX other_usage_by_time ON views_rows.other_usage (recorded_at);

CREATE TABLE views_rows.budgets (
    budget_id   text COLLATE "C" NOT NULL,
    scope       text COLLATE "C" NOT NULL,
    scope_id    text COLLATE "C" NOT NULL,
    partner_id  text COLLATE "C",
    tenant_id   text COLLATE "C",
    limit_usd   numeric(20,9) NOT NULL,
    period      text COLLATE "C" NOT NULL,
    alert_at    numeric[] NOT NULL,
    when_short  text COLLATE "C" NOT NULL,
    enforcement text COLLATE "C" NOT NULL,
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    position    bigint NOT NULL,
    PRIMARY KEY (budget_id)
);

CREATE TABLE views_rows.budget_windows (
    budget_id    text COLLATE "C" NOT NULL,
    window_start timestamptz NOT NULL,
    settled_usd  numeric(38,9) NOT NULL,
    held_usd     numeric(38,9) NOT NULL,
    PRIMARY KEY (budget_id, window_start)
) WITH (fillfactor = 80);

CREATE TABLE views_rows.audit (
    position    bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    actor       text COLLATE "C" NOT NULL,
    action      text COLLATE "C" NOT NULL,
    resource    text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    category    text COLLATE "C" NOT NULL,
    severity    text COLLATE "C" NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    request_id  text COLLATE "C",
    partner_id  text COLLATE "C",
    tenant_id   text COLLATE "C",
    PRIMARY KEY (position)
);
CREATE INDEX audit_by_time ON views_rows.audit (recorded_at);

CREATE TABLE views_rows.resources (
    id               text COLLATE "C" NOT NULL,
    kind             text COLLATE "C" NOT NULL,
    partner_id       text COLLATE "C",
    tenant_id        text COLLATE "C",
    user_id          text COLLATE "C",
    name             text COLLATE "C",
    slug             text COLLATE "C",
    external_id      text COLLATE "C",
    created_at       timestamptz NOT NULL,
    ended_at         timestamptz,
    created_position bigint NOT NULL,
    position         bigint NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE views_rows.prices (
    price_id                 text COLLATE "C" NOT NULL,
    provider_id              text COLLATE "C" NOT NULL,
    model                    text COLLATE "C" NOT NULL,
    input_usd_per_mtok       numeric(20,9) NOT NULL,
    output_usd_per_mtok      numeric(20,9) NOT NULL,
    cache_read_usd_per_mtok  numeric(20,9) NOT NULL,
    cache_write_usd_per_mtok numeric(20,9) NOT NULL,
    reasoning_usd_per_mtok   numeric(20,9) NOT NULL,
    request_usd              numeric(20,9) NOT NULL,
    effective_from           timestamptz NOT NULL,
    tenant_id                text COLLATE "C",
    created_at               timestamptz NOT NULL,
    ended_at                 timestamptz,
    position                 bigint NOT NULL,
    PRIMARY KEY (price_id)
);

CREATE VIEW views.position AS
    SELECT view, position, CASE WHEN position > 0 THEN timestamptz 'epoch' + recorded_at * interval '1 microsecond' END AS recorded_at
    FROM views_rows.copied;
COMMENT ON VIEW views.position IS 'As of which event of the log each part of the copy is';
COMMENT ON COLUMN views.position.view IS 'The part: budgets (budgets, budget_windows), usage_by_hour, inferences (requests, other_usage), audit, catalogue (resources, prices)';
COMMENT ON COLUMN views.position.position IS 'Log position of the last event that it reflects';
COMMENT ON COLUMN views.position.recorded_at IS 'When that event was recorded; null before the first';

CREATE VIEW views.usage_by_hour AS
    SELECT
        r.hour, nullif(r.partner_id, '') AS partner_id, partner.name AS partner_name,
        nullif(r.tenant_id, '') AS tenant_id, tenant.name AS tenant_name, tenant.external_id AS tenant_external_id,
        nullif(r.user_id, '') AS user_id, person.external_id AS user_external_id, nullif(r.key_id, '') AS key_id,
        api_key.name AS key_name, nullif(r.model, '') AS model, nullif(r.provider, '') AS provider,
        nullif(r.backend, '') AS backend, nullif(r.payer, '') AS payer, r.requests, r.refused, r.failed,
        r.input_uncached_tokens, r.input_cache_read_tokens, r.input_cache_write_tokens, r.output_text_tokens,
        r.output_reasoning_tokens, r.input_audio_tokens, r.input_cache_read_audio_tokens, r.output_audio_tokens,
        r.input_image_tokens, r.input_cache_read_image_tokens, r.output_image_tokens, r.citation_tokens, r.searches,
        r.input_images, r.cost_usd, r.adjusted_usd, r.latency_ms, r.latency_requests
    FROM views_rows.usage_by_hour AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id
    LEFT JOIN views_rows.resources AS person ON person.id = r.user_id
    LEFT JOIN views_rows.resources AS api_key ON api_key.id = r.key_id;
COMMENT ON VIEW views.usage_by_hour IS
    'Requests, tokens, dollars and latencies, by hour and by every dimension. No row is all zero';
COMMENT ON COLUMN views.usage_by_hour.hour IS
    'The hour that begins at this time. A request counts in the hour of its admission, a refusal or a correction when it was recorded';
COMMENT ON COLUMN views.usage_by_hour.partner_id IS 'The partner, par_…';
COMMENT ON COLUMN views.usage_by_hour.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.usage_by_hour.tenant_id IS 'The tenant, ten_…';
COMMENT ON COLUMN views.usage_by_hour.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.usage_by_hour.tenant_external_id IS 'The tenant''s id in your own systems; null without one';
COMMENT ON COLUMN views.usage_by_hour.user_id IS
    'The user, usr_…. Names of people are not here: erasing one touches nothing in this schema';
COMMENT ON COLUMN views.usage_by_hour.user_external_id IS 'The user''s id in your own systems; null without one';
COMMENT ON COLUMN views.usage_by_hour.key_id IS 'The API key, key_…; null for the operator''s own requests';
COMMENT ON COLUMN views.usage_by_hour.key_name IS 'The key''s name';
COMMENT ON COLUMN views.usage_by_hour.model IS 'The model that clients ask for';
COMMENT ON COLUMN views.usage_by_hour.provider IS
    'The provider that served it, by the name that it had then; null without one';
COMMENT ON COLUMN views.usage_by_hour.backend IS 'provider/model: the model at the provider; null without one';
COMMENT ON COLUMN views.usage_by_hour.payer IS
    'Whose account at the provider is billed: own (the tenant''s) or brokered (the platform''s); null without a backend';
COMMENT ON COLUMN views.usage_by_hour.requests IS 'Admitted requests, whatever became of them';
COMMENT ON COLUMN views.usage_by_hour.refused IS 'Refused requests, which are not among requests';
COMMENT ON COLUMN views.usage_by_hour.failed IS 'Those of the admitted requests that failed';
COMMENT ON COLUMN views.usage_by_hour.input_uncached_tokens IS 'Input tokens that no cache served';
COMMENT ON COLUMN views.usage_by_hour.input_cache_read_tokens IS 'Input tokens read from a cache';
COMMENT ON COLUMN views.usage_by_hour.input_cache_write_tokens IS 'Input tokens written to a cache';
COMMENT ON COLUMN views.usage_by_hour.output_text_tokens IS 'Output tokens of text';
COMMENT ON COLUMN views.usage_by_hour.output_reasoning_tokens IS 'Output tokens of reasoning';
COMMENT ON COLUMN views.usage_by_hour.input_audio_tokens IS 'Input tokens of audio';
COMMENT ON COLUMN views.usage_by_hour.input_cache_read_audio_tokens IS 'Input tokens of audio, read from a cache';
COMMENT ON COLUMN views.usage_by_hour.output_audio_tokens IS 'Output tokens of audio';
COMMENT ON COLUMN views.usage_by_hour.input_image_tokens IS 'Input tokens of images';
COMMENT ON COLUMN views.usage_by_hour.input_cache_read_image_tokens IS 'Input tokens of images, read from a cache';
COMMENT ON COLUMN views.usage_by_hour.output_image_tokens IS 'Output tokens of images';
COMMENT ON COLUMN views.usage_by_hour.citation_tokens IS 'Tokens of cited documents';
COMMENT ON COLUMN views.usage_by_hour.searches IS 'Web searches';
COMMENT ON COLUMN views.usage_by_hour.input_images IS 'Images that are billed one by one';
COMMENT ON COLUMN views.usage_by_hour.cost_usd IS
    'US dollars: what the requests were charged, with the corrections that were recorded in this hour';
COMMENT ON COLUMN views.usage_by_hour.adjusted_usd IS
    'US dollars: the corrections that cost_usd includes, with their sign';
COMMENT ON COLUMN views.usage_by_hour.latency_ms IS
    'Buckets of a histogram of latencies in milliseconds, ascending; less than 4 % off. Null without latencies';
COMMENT ON COLUMN views.usage_by_hour.latency_requests IS 'How many requests each bucket of latency_ms has';

CREATE VIEW views.requests AS
    SELECT
        r.position, r.request_id, r.recorded_at, r.status, r.partner_id, partner.name AS partner_name, r.tenant_id,
        tenant.name AS tenant_name, tenant.external_id AS tenant_external_id, r.user_id,
        person.external_id AS user_external_id, r.key_id, api_key.name AS key_name, r.model, r.provider, r.backend,
        r.payer, r.cost_usd, r.corrected_usd, r.input_uncached_tokens, r.input_cache_read_tokens,
        r.input_cache_write_tokens, r.output_text_tokens, r.output_reasoning_tokens, r.input_audio_tokens,
        r.input_cache_read_audio_tokens, r.output_audio_tokens, r.input_image_tokens, r.input_cache_read_image_tokens,
        r.output_image_tokens, r.citation_tokens, r.searches, r.input_images, r.latency_ms, r.hold_position,
        r.outcome_position, r.hold_end_position
    FROM views_rows.requests AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id
    LEFT JOIN views_rows.resources AS person ON person.id = r.user_id
    LEFT JOIN views_rows.resources AS api_key ON api_key.id = r.key_id;
COMMENT ON VIEW views.requests IS
    'One row for each request, at the position of its first event; refusals that were recorded one by one are among them';
COMMENT ON COLUMN views.requests.position IS 'Log position of its first event';
COMMENT ON COLUMN views.requests.request_id IS 'req_…, as in x-request-id';
COMMENT ON COLUMN views.requests.recorded_at IS 'When it was admitted or refused';
COMMENT ON COLUMN views.requests.status IS 'admitted (still running), completed, failed, aborted or refused';
COMMENT ON COLUMN views.requests.partner_id IS 'The partner, par_…';
COMMENT ON COLUMN views.requests.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.requests.tenant_id IS 'The tenant, ten_…';
COMMENT ON COLUMN views.requests.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.requests.tenant_external_id IS 'The tenant''s id in your own systems; null without one';
COMMENT ON COLUMN views.requests.user_id IS
    'The user, usr_…. Names of people are not here: erasing one touches nothing in this schema';
COMMENT ON COLUMN views.requests.user_external_id IS 'The user''s id in your own systems; null without one';
COMMENT ON COLUMN views.requests.key_id IS 'The API key, key_…; null for the operator''s own requests';
COMMENT ON COLUMN views.requests.key_name IS 'The key''s name';
COMMENT ON COLUMN views.requests.model IS 'The model that clients ask for';
COMMENT ON COLUMN views.requests.provider IS
    'The provider that served it, by the name that it had then; null without one';
COMMENT ON COLUMN views.requests.backend IS 'provider/model: the model at the provider; null without one';
COMMENT ON COLUMN views.requests.payer IS
    'Whose account at the provider is billed: own (the tenant''s) or brokered (the platform''s); null without a backend';
COMMENT ON COLUMN views.requests.cost_usd IS 'US dollars: what it was charged, with later corrections';
COMMENT ON COLUMN views.requests.corrected_usd IS
    'US dollars: the corrections that cost_usd includes, with their sign';
COMMENT ON COLUMN views.requests.input_uncached_tokens IS 'Input tokens that no cache served';
COMMENT ON COLUMN views.requests.input_cache_read_tokens IS 'Input tokens read from a cache';
COMMENT ON COLUMN views.requests.input_cache_write_tokens IS 'Input tokens written to a cache';
COMMENT ON COLUMN views.requests.output_text_tokens IS 'Output tokens of text';
COMMENT ON COLUMN views.requests.output_reasoning_tokens IS 'Output tokens of reasoning';
COMMENT ON COLUMN views.requests.input_audio_tokens IS 'Input tokens of audio';
COMMENT ON COLUMN views.requests.input_cache_read_audio_tokens IS 'Input tokens of audio, read from a cache';
COMMENT ON COLUMN views.requests.output_audio_tokens IS 'Output tokens of audio';
COMMENT ON COLUMN views.requests.input_image_tokens IS 'Input tokens of images';
COMMENT ON COLUMN views.requests.input_cache_read_image_tokens IS 'Input tokens of images, read from a cache';
COMMENT ON COLUMN views.requests.output_image_tokens IS 'Output tokens of images';
COMMENT ON COLUMN views.requests.citation_tokens IS 'Tokens of cited documents';
COMMENT ON COLUMN views.requests.searches IS 'Web searches';
COMMENT ON COLUMN views.requests.input_images IS 'Images that are billed one by one';
COMMENT ON COLUMN views.requests.latency_ms IS
    'Milliseconds from its admission to its end; null while it runs or where it is not known';
COMMENT ON COLUMN views.requests.hold_position IS 'Log position of budget.reserved; null without a hold';
COMMENT ON COLUMN views.requests.outcome_position IS 'Log position of its outcome; null while it runs';
COMMENT ON COLUMN views.requests.hold_end_position IS 'Log position of the end of its hold; null while it is held';

CREATE VIEW views.other_usage AS
    SELECT
        r.position, r.recorded_at, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name,
        tenant.external_id AS tenant_external_id, r.user_id, person.external_id AS user_external_id, r.key_id,
        api_key.name AS key_name, r.model, r.provider, r.backend, r.payer, r.refused, r.cost_usd
    FROM views_rows.other_usage AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id
    LEFT JOIN views_rows.resources AS person ON person.id = r.user_id
    LEFT JOIN views_rows.resources AS api_key ON api_key.id = r.key_id;
COMMENT ON VIEW views.other_usage IS
    'Usage outside of admitted requests: refusals, and corrections of charges when they were recorded';
COMMENT ON COLUMN views.other_usage.position IS 'Log position';
COMMENT ON COLUMN views.other_usage.recorded_at IS 'When it was recorded';
COMMENT ON COLUMN views.other_usage.partner_id IS 'The partner, par_…';
COMMENT ON COLUMN views.other_usage.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.other_usage.tenant_id IS 'The tenant, ten_…';
COMMENT ON COLUMN views.other_usage.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.other_usage.tenant_external_id IS 'The tenant''s id in your own systems; null without one';
COMMENT ON COLUMN views.other_usage.user_id IS
    'The user, usr_…. Names of people are not here: erasing one touches nothing in this schema';
COMMENT ON COLUMN views.other_usage.user_external_id IS 'The user''s id in your own systems; null without one';
COMMENT ON COLUMN views.other_usage.key_id IS 'The API key, key_…; null for the operator''s own requests';
COMMENT ON COLUMN views.other_usage.key_name IS 'The key''s name';
COMMENT ON COLUMN views.other_usage.model IS 'The model that clients ask for';
COMMENT ON COLUMN views.other_usage.provider IS
    'The provider that served it, by the name that it had then; null without one';
COMMENT ON COLUMN views.other_usage.backend IS 'provider/model: the model at the provider; null without one';
COMMENT ON COLUMN views.other_usage.payer IS
    'Whose account at the provider is billed: own (the tenant''s) or brokered (the platform''s); null without a backend';
COMMENT ON COLUMN views.other_usage.refused IS 'The refused requests that it stands for; 0 for a correction';
COMMENT ON COLUMN views.other_usage.cost_usd IS 'US dollars: a correction with its sign; 0 for a refusal';

CREATE VIEW views.budgets AS
    SELECT
        r.budget_id, r.scope, r.scope_id, r.partner_id, partner.name AS partner_name, r.tenant_id,
        tenant.name AS tenant_name, r.limit_usd, r.period, r.alert_at, r.when_short, r.enforcement, r.opened_at,
        r.closed_at, r.position
    FROM views_rows.budgets AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id;
COMMENT ON VIEW views.budgets IS 'Budgets as their last change left them, closed ones too';
COMMENT ON COLUMN views.budgets.budget_id IS 'bud_…';
COMMENT ON COLUMN views.budgets.scope IS 'What it bounds: partner, tenant, team, user or key';
COMMENT ON COLUMN views.budgets.scope_id IS 'The id of that partner, tenant, team, user or key';
COMMENT ON COLUMN views.budgets.partner_id IS 'The partner, par_…';
COMMENT ON COLUMN views.budgets.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.budgets.tenant_id IS 'The tenant, ten_…; null for the budget of a partner';
COMMENT ON COLUMN views.budgets.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.budgets.limit_usd IS 'US dollars: the limit of each window';
COMMENT ON COLUMN views.budgets.period IS 'total, day, week or month, in UTC; weeks begin on Monday';
COMMENT ON COLUMN views.budgets.alert_at IS 'The fractions of the limit at which an alert is recorded';
COMMENT ON COLUMN views.budgets.when_short IS 'refuse, or shrink: lower the output cap to what is left';
COMMENT ON COLUMN views.budgets.enforcement IS 'hard, or observe: record what it would have refused';
COMMENT ON COLUMN views.budgets.opened_at IS 'When it was opened';
COMMENT ON COLUMN views.budgets.closed_at IS 'When it was closed; null while it is in force';
COMMENT ON COLUMN views.budgets.position IS 'Log position of its last change';

CREATE VIEW views.budget_windows AS
    SELECT
        r.budget_id, budget.scope, budget.scope_id, budget.tenant_id, budget.period, budget.limit_usd,
        nullif(r.window_start, timestamptz 'epoch') AS window_start, r.settled_usd, r.held_usd,
        greatest(budget.limit_usd - r.settled_usd - r.held_usd, 0) AS remaining_usd
    FROM views_rows.budget_windows AS r
    LEFT JOIN views_rows.budgets AS budget ON budget.budget_id = r.budget_id;
COMMENT ON VIEW views.budget_windows IS
    'What budgets have charged and hold in each of their windows that a request ever named';
COMMENT ON COLUMN views.budget_windows.budget_id IS 'bud_…';
COMMENT ON COLUMN views.budget_windows.scope IS 'What the budget bounds: partner, tenant, team, user or key';
COMMENT ON COLUMN views.budget_windows.scope_id IS 'The id of that partner, tenant, team, user or key';
COMMENT ON COLUMN views.budget_windows.tenant_id IS 'The tenant, ten_…; null for the budget of a partner';
COMMENT ON COLUMN views.budget_windows.period IS 'total, day, week or month, in UTC';
COMMENT ON COLUMN views.budget_windows.limit_usd IS 'US dollars: the limit, as it is now';
COMMENT ON COLUMN views.budget_windows.window_start IS 'When the window begins; null for the period total';
COMMENT ON COLUMN views.budget_windows.settled_usd IS 'US dollars charged in the window';
COMMENT ON COLUMN views.budget_windows.held_usd IS 'US dollars held for running requests';
COMMENT ON COLUMN views.budget_windows.remaining_usd IS 'US dollars that are left; never below zero, also where a lowered limit or an overrun exceeds it';

CREATE VIEW views.audit AS
    SELECT
        r.position, r.recorded_at, r.actor, r.action, r.resource, r.resource_id, r.category, r.severity, r.outcome,
        r.request_id, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name
    FROM views_rows.audit AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id;
COMMENT ON VIEW views.audit IS
    'Who did what to which resource, who was refused, and who read what. What exactly was changed is in GET /v1/audit';
COMMENT ON COLUMN views.audit.position IS 'Log position';
COMMENT ON COLUMN views.audit.recorded_at IS 'When it was recorded';
COMMENT ON COLUMN views.audit.actor IS 'key_…, operator or system:NAME';
COMMENT ON COLUMN views.audit.action IS 'The type of the event without its version, such as key.created';
COMMENT ON COLUMN views.audit.resource IS 'kind/id';
COMMENT ON COLUMN views.audit.resource_id IS 'The id alone';
COMMENT ON COLUMN views.audit.category IS 'administration, access, money, inference or reads';
COMMENT ON COLUMN views.audit.severity IS 'info, notice or warning';
COMMENT ON COLUMN views.audit.outcome IS 'success or denied';
COMMENT ON COLUMN views.audit.request_id IS 'The request that did it; null without one';
COMMENT ON COLUMN views.audit.partner_id IS 'The partner, par_…; null without one';
COMMENT ON COLUMN views.audit.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.audit.tenant_id IS 'The tenant, ten_…; null without one';
COMMENT ON COLUMN views.audit.tenant_name IS 'The tenant''s name';

CREATE VIEW views.resources AS
    SELECT
        r.id, r.kind, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name, r.user_id,
        r.name, r.slug, r.external_id, r.created_at, r.ended_at, r.created_position, r.position
    FROM views_rows.resources AS r
    LEFT JOIN views_rows.resources AS partner ON partner.id = r.partner_id
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id;
COMMENT ON VIEW views.resources IS
    'Partners, tenants, users, teams, keys, providers, provider keys, models, prices, budgets, rate limits and saved searches as their last change left them, ended ones too';
COMMENT ON COLUMN views.resources.id IS 'par_… ten_… usr_… tea_… key_… prv_… pky_… mdl_… prc_… bud_… lim_… asr_…';
COMMENT ON COLUMN views.resources.kind IS
    'partner, tenant, user, team, key, provider, provider_key, model, price, budget, rate_limit or audit_search';
COMMENT ON COLUMN views.resources.partner_id IS 'Its partner; null without one';
COMMENT ON COLUMN views.resources.partner_name IS 'The partner''s name';
COMMENT ON COLUMN views.resources.tenant_id IS 'Its tenant; null without one';
COMMENT ON COLUMN views.resources.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.resources.user_id IS 'Its user; null without one';
COMMENT ON COLUMN views.resources.name IS
    'Its name; of a price, the model. Null for users: names of people are not here';
COMMENT ON COLUMN views.resources.slug IS 'Its slug; null without one';
COMMENT ON COLUMN views.resources.external_id IS 'Its id in your own systems; null without one';
COMMENT ON COLUMN views.resources.created_at IS 'When it was created';
COMMENT ON COLUMN views.resources.ended_at IS
    'When it was ended; null unless it was. A resource also ends with its owner';
COMMENT ON COLUMN views.resources.created_position IS 'Log position of its creation';
COMMENT ON COLUMN views.resources.position IS 'Log position of its last change';

CREATE VIEW views.prices AS
    SELECT
        r.price_id, r.provider_id, provider.name AS provider, r.model, r.input_usd_per_mtok, r.output_usd_per_mtok,
        r.cache_read_usd_per_mtok, r.cache_write_usd_per_mtok, r.reasoning_usd_per_mtok, r.request_usd,
        r.effective_from, r.tenant_id, tenant.name AS tenant_name, r.created_at, r.ended_at, r.position
    FROM views_rows.prices AS r
    LEFT JOIN views_rows.resources AS tenant ON tenant.id = r.tenant_id
    LEFT JOIN views_rows.resources AS provider ON provider.id = r.provider_id;
COMMENT ON VIEW views.prices IS 'Prices of models at providers, ended ones too';
COMMENT ON COLUMN views.prices.price_id IS 'prc_…';
COMMENT ON COLUMN views.prices.provider_id IS 'The provider, prv_…';
COMMENT ON COLUMN views.prices.provider IS 'The provider''s name';
COMMENT ON COLUMN views.prices.model IS 'The model at the provider';
COMMENT ON COLUMN views.prices.input_usd_per_mtok IS 'US dollars for a million input tokens';
COMMENT ON COLUMN views.prices.output_usd_per_mtok IS 'US dollars for a million output tokens';
COMMENT ON COLUMN views.prices.cache_read_usd_per_mtok IS 'US dollars for a million input tokens read from a cache';
COMMENT ON COLUMN views.prices.cache_write_usd_per_mtok IS 'US dollars for a million input tokens written to a cache';
COMMENT ON COLUMN views.prices.reasoning_usd_per_mtok IS 'US dollars for a million output tokens of reasoning';
COMMENT ON COLUMN views.prices.request_usd IS 'US dollars for a request';
COMMENT ON COLUMN views.prices.effective_from IS 'Requests from this time on cost this';
COMMENT ON COLUMN views.prices.tenant_id IS 'The tenant whose own provider it is for; null for shared providers';
COMMENT ON COLUMN views.prices.tenant_name IS 'The tenant''s name';
COMMENT ON COLUMN views.prices.created_at IS 'When it was created';
COMMENT ON COLUMN views.prices.ended_at IS 'When it was ended; null unless it was';
COMMENT ON COLUMN views.prices.position IS 'Log position of its last change';
