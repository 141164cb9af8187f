-- What analysts read, by the names of docs/sql.md and with its types, as far as SQLite has them: SQL views of the tables whose names
-- begin with `rows_`. They need nothing but SQLite 3.37 with its JSON functions. A name beside an id is looked up in a subquery, which
-- SQLite leaves out if nobody asks for the column.
-- Dollars are text with nine digits (`…_usd`), to be shown, and nano-dollars (`…_nanos`), to be summed: SQLite has no decimals. From a
-- dollar on, the digits of an amount are cut before the last nine, which also serves those beyond 64 bits, which are text.

CREATE VIEW position AS
SELECT
    name AS view,
    position,
    iif(position > 0,
        strftime('%Y-%m-%dT%H:%M:%S', recorded_at / 1000000, 'unixepoch') || printf('.%06dZ', recorded_at % 1000000),
        NULL) AS recorded_at
FROM rows_projections;

-- `hours` jumps from one hour to the next by the primary key, so that a query of some hours reads only those: SQLite cannot search
-- the table's own column for a time as text.
CREATE VIEW usage_by_hour AS
WITH RECURSIVE hours (hour) AS (
    SELECT min(hour) FROM rows_usage_by_hour
    UNION ALL
    SELECT (SELECT min(later.hour) FROM rows_usage_by_hour AS later WHERE later.hour > hours.hour)
    FROM hours
    WHERE hours.hour IS NOT NULL
)
SELECT
    strftime('%Y-%m-%dT%H:%M:%S.000000Z', hours.hour, 'unixepoch') AS hour,
    nullif(r.partner_id, '') AS partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    nullif(r.tenant_id, '') AS tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_external_id,
    nullif(r.user_id, '') AS user_id,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'user' AND c.id = r.user_id) AS user_external_id,
    nullif(r.key_id, '') AS key_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'key' AND c.id = r.key_id) AS key_name,
    nullif(r.model, '') AS model, nullif(r.provider, '') AS provider, nullif(r.backend, '') AS backend,
    nullif(r.payer, '') AS payer, r.requests, r.refused, r.failed, r.input_uncached_tokens,
    r.input_cache_read_tokens, r.input_cache_write_tokens, r.output_text_tokens, r.output_reasoning_tokens,
    r.input_audio_tokens, r.input_cache_read_audio_tokens, r.output_audio_tokens, r.input_image_tokens,
    r.input_cache_read_image_tokens, r.output_image_tokens, r.citation_tokens, r.searches, r.input_images,
    iif(r.cost_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.cost_nanos < 0, '-', ''), abs(r.cost_nanos)),
        substr(r.cost_nanos, 1, length(r.cost_nanos) - 9) || '.' || substr(r.cost_nanos, -9)) AS cost_usd,
    r.cost_nanos,
    iif(r.adjusted_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.adjusted_nanos < 0, '-', ''), abs(r.adjusted_nanos)),
        substr(r.adjusted_nanos, 1, length(r.adjusted_nanos) - 9) || '.' || substr(r.adjusted_nanos, -9)) AS adjusted_usd,
    r.adjusted_nanos,
    (
        SELECT l.latency_ms FROM rows_usage_latency AS l
        WHERE l.hour = r.hour AND l.tenant_id = r.tenant_id AND l.key_id = r.key_id AND l.model = r.model
          AND l.backend = r.backend AND l.partner_id = r.partner_id AND l.user_id = r.user_id AND l.provider = r.provider
          AND l.payer = r.payer
    ) AS latency_ms,
    (
        SELECT l.latency_requests FROM rows_usage_latency AS l
        WHERE l.hour = r.hour AND l.tenant_id = r.tenant_id AND l.key_id = r.key_id AND l.model = r.model
          AND l.backend = r.backend AND l.partner_id = r.partner_id AND l.user_id = r.user_id AND l.provider = r.provider
          AND l.payer = r.payer
    ) AS latency_requests
FROM hours
CROSS JOIN rows_usage_by_hour AS r ON r.hour = hours.hour;

CREATE VIEW requests AS
SELECT
    r.position,
    r.request_id,
    strftime('%Y-%m-%dT%H:%M:%S', r.recorded_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.recorded_at % 1000000) AS recorded_at,
    r.status,
    r.partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_external_id,
    r.user_id,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'user' AND c.id = r.user_id) AS user_external_id,
    r.key_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'key' AND c.id = r.key_id) AS key_name,
    r.model,
    r.provider,
    r.backend,
    iif(r.backend IS NULL, NULL, coalesce(r.payer, 'brokered')) AS payer,
    iif(r.cost_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.cost_nanos < 0, '-', ''), abs(r.cost_nanos)),
        substr(r.cost_nanos, 1, length(r.cost_nanos) - 9) || '.' || substr(r.cost_nanos, -9)) AS cost_usd,
    r.cost_nanos,
    iif(r.corrected_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.corrected_nanos < 0, '-', ''), abs(r.corrected_nanos)),
        substr(r.corrected_nanos, 1, length(r.corrected_nanos) - 9) || '.' || substr(r.corrected_nanos, -9)) AS corrected_usd,
    r.corrected_nanos,
    r.input_uncached_tokens, r.input_cache_read_tokens, r.input_cache_write_tokens, r.output_text_tokens,
    r.output_reasoning_tokens, r.input_audio_tokens, r.input_cache_read_audio_tokens, r.output_audio_tokens,
    r.input_image_tokens, r.input_cache_read_image_tokens, r.output_image_tokens, r.citation_tokens, r.searches,
    r.input_images,
    iif(typeof(r.latency_ms) = 'text', 9223372036854775807, r.latency_ms) AS latency_ms,
    r.hold_position,
    r.outcome_position,
    r.hold_end_position
FROM rows_inferences AS r;

CREATE VIEW other_usage AS
SELECT
    r.position,
    strftime('%Y-%m-%dT%H:%M:%S', r.recorded_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.recorded_at % 1000000) AS recorded_at,
    r.partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_external_id,
    r.user_id,
    (SELECT json_extract(c.body, '$.external_id')
     FROM rows_catalogue AS c WHERE c.kind = 'user' AND c.id = r.user_id) AS user_external_id,
    r.key_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'key' AND c.id = r.key_id) AS key_name,
    nullif(r.model, '') AS model, nullif(r.provider, '') AS provider, nullif(r.backend, '') AS backend,
    nullif(r.payer, '') AS payer, r.refused,
    iif(r.cost_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.cost_nanos < 0, '-', ''), abs(r.cost_nanos)),
        substr(r.cost_nanos, 1, length(r.cost_nanos) - 9) || '.' || substr(r.cost_nanos, -9)) AS cost_usd,
    r.cost_nanos
FROM rows_other_usage AS r;

CREATE VIEW budgets AS
SELECT
    r.budget_id,
    CASE WHEN json_extract(r.body, '$.scope.partner_id') IS NOT NULL THEN 'partner'
         WHEN json_extract(r.body, '$.scope.tenant_id') IS NOT NULL THEN 'tenant'
         WHEN json_extract(r.body, '$.scope.team_id') IS NOT NULL THEN 'team'
         WHEN json_extract(r.body, '$.scope.user_id') IS NOT NULL THEN 'user'
         ELSE 'key' END AS scope,
    coalesce(json_extract(r.body, '$.scope.partner_id'), json_extract(r.body, '$.scope.tenant_id'),
             json_extract(r.body, '$.scope.team_id'), json_extract(r.body, '$.scope.user_id'),
             json_extract(r.body, '$.scope.key_id')) AS scope_id,
    r.partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    iif(r.limit_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(r.limit_nanos < 0, '-', ''), abs(r.limit_nanos)),
        substr(r.limit_nanos, 1, length(r.limit_nanos) - 9) || '.' || substr(r.limit_nanos, -9)) AS limit_usd,
    r.limit_nanos,
    r.period,
    -- Fractions are texts in events, and numbers here.
    replace(json_extract(r.body, '$.alert_at'), '"', '') AS alert_at,
    json_extract(r.body, '$.when_short') AS when_short,
    json_extract(r.body, '$.enforcement') AS enforcement,
    strftime('%Y-%m-%dT%H:%M:%S', r.opened_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.opened_at % 1000000) AS opened_at,
    strftime('%Y-%m-%dT%H:%M:%S', r.closed_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.closed_at % 1000000) AS closed_at,
    r.position
FROM rows_budgets AS r;

CREATE VIEW budget_windows AS
SELECT
    w.budget_id, w.scope, w.scope_id, w.tenant_id, w.period, w.limit_usd, w.limit_nanos, w.window_start,
    iif(w.settled_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(w.settled_nanos < 0, '-', ''), abs(w.settled_nanos)),
        substr(w.settled_nanos, 1, length(w.settled_nanos) - 9) || '.' || substr(w.settled_nanos, -9)) AS settled_usd,
    w.settled_nanos,
    iif(w.held_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(w.held_nanos < 0, '-', ''), abs(w.held_nanos)),
        substr(w.held_nanos, 1, length(w.held_nanos) - 9) || '.' || substr(w.held_nanos, -9)) AS held_usd,
    w.held_nanos,
    iif(w.remaining_nanos BETWEEN -999999999 AND 999999999,
        printf('%s0.%09d', iif(w.remaining_nanos < 0, '-', ''), abs(w.remaining_nanos)),
        substr(w.remaining_nanos, 1, length(w.remaining_nanos) - 9) || '.' || substr(w.remaining_nanos, -9)) AS remaining_usd,
    w.remaining_nanos
FROM (
    SELECT
        r.budget_id, budget.scope, budget.scope_id, budget.tenant_id, budget.period, budget.limit_usd,
        budget.limit_nanos,
        iif(r.window_start <> 0,
            strftime('%Y-%m-%dT%H:%M:%S', r.window_start / 1000000, 'unixepoch')
            || printf('.%06dZ', r.window_start % 1000000),
            NULL) AS window_start,
        r.settled_nanos, r.held_nanos,
        -- Sums beyond 64 bits are above every limit.
        iif(typeof(r.settled_nanos) = 'text' OR typeof(r.held_nanos) = 'text', 0,
            max(budget.limit_nanos - r.settled_nanos - r.held_nanos, 0)) AS remaining_nanos
    FROM rows_budget_windows AS r
    LEFT JOIN budgets AS budget ON budget.budget_id = r.budget_id
) AS w;

CREATE VIEW audit AS
SELECT
    r.position, r.recorded_at, r.actor, r.action, r.resource, r.resource_id, r.category, r.severity, r.outcome,
    r.request_id,
    r.partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name
FROM rows_audit AS r;

CREATE VIEW resources AS
SELECT
    r.id,
    r.kind,
    r.partner_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'partner' AND c.id = r.partner_id) AS partner_name,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    r.user_id,
    r.name,
    json_extract(r.body, '$.slug') AS slug,
    json_extract(r.body, '$.external_id') AS external_id,
    strftime('%Y-%m-%dT%H:%M:%S', r.created_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', r.ended_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.ended_at % 1000000) AS ended_at,
    r.created_position,
    r.position
FROM rows_catalogue AS r;

-- Amounts in events have nine digits.
CREATE VIEW prices AS
SELECT
    r.id AS price_id,
    json_extract(r.body, '$.provider_id') AS provider_id,
    (SELECT c.name FROM rows_catalogue AS c
     WHERE c.kind = 'provider' AND c.id = json_extract(r.body, '$.provider_id')) AS provider,
    r.name AS model,
    json_extract(r.body, '$.input_usd_per_mtok') AS input_usd_per_mtok,
    CAST(replace(json_extract(r.body, '$.input_usd_per_mtok'), '.', '') AS INTEGER) AS input_nanos_per_mtok,
    json_extract(r.body, '$.output_usd_per_mtok') AS output_usd_per_mtok,
    CAST(replace(json_extract(r.body, '$.output_usd_per_mtok'), '.', '') AS INTEGER) AS output_nanos_per_mtok,
    json_extract(r.body, '$.cache_read_usd_per_mtok') AS cache_read_usd_per_mtok,
    CAST(replace(json_extract(r.body, '$.cache_read_usd_per_mtok'), '.', '') AS INTEGER) AS cache_read_nanos_per_mtok,
    json_extract(r.body, '$.cache_write_usd_per_mtok') AS cache_write_usd_per_mtok,
    CAST(replace(json_extract(r.body, '$.cache_write_usd_per_mtok'), '.', '') AS INTEGER) AS cache_write_nanos_per_mtok,
    json_extract(r.body, '$.reasoning_usd_per_mtok') AS reasoning_usd_per_mtok,
    CAST(replace(json_extract(r.body, '$.reasoning_usd_per_mtok'), '.', '') AS INTEGER) AS reasoning_nanos_per_mtok,
    json_extract(r.body, '$.request_usd') AS request_usd,
    CAST(replace(json_extract(r.body, '$.request_usd'), '.', '') AS INTEGER) AS request_nanos,
    json_extract(r.body, '$.effective_from') AS effective_from,
    r.tenant_id,
    (SELECT c.name FROM rows_catalogue AS c WHERE c.kind = 'tenant' AND c.id = r.tenant_id) AS tenant_name,
    strftime('%Y-%m-%dT%H:%M:%S', r.created_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.created_at % 1000000) AS created_at,
    strftime('%Y-%m-%dT%H:%M:%S', r.ended_at / 1000000, 'unixepoch')
        || printf('.%06dZ', r.ended_at % 1000000) AS ended_at,
    r.position
FROM rows_catalogue AS r
WHERE r.kind = 'price';
