-- What analysts read of a gateway with a ledger of its own: the same tables and views by the same names as in PostgreSQL, as far
-- as SQLite has the types. Dollars are text with nine digits (`…_usd`), to be shown, and nano-dollars (`…_nanos`), to be summed:
-- SQLite has no decimals. Times are RFC 3339 in UTC, lists are JSON. ANY: an INTEGER, or its digits where it has more than 64 bits.
CREATE TABLE rows_copied (
    view        TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    position    INTEGER NOT NULL,
    recorded_at INTEGER NOT NULL,
    file        TEXT    NOT NULL,
    swaps       INTEGER NOT NULL,
    token       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO rows_copied (view, version, position, recorded_at, file, swaps, token)
VALUES ('budgets', 0, 0, 0, '', 0, 0), ('usage_by_hour', 0, 0, 0, '', 0, 0), ('inferences', 0, 0, 0, '', 0, 0),
       ('audit', 0, 0, 0, '', 0, 0), ('catalogue', 0, 0, 0, '', 0, 0);

CREATE TABLE rows_usage_by_hour (
    hour                          TEXT NOT NULL,
    tenant_id                     TEXT NOT NULL,
    key_id                        TEXT NOT NULL,
    model                         TEXT NOT NULL,
    backend                       TEXT NOT NULL,
    partner_id                    TEXT NOT NULL,
    user_id                       TEXT NOT NULL,
    provider                      TEXT NOT NULL,
    payer                         TEXT NOT NULL,
    requests                      INTEGER NOT NULL,
    refused                       ANY NOT NULL,
    failed                        INTEGER NOT NULL,
    input_uncached_tokens         ANY NOT NULL,
    input_cache_read_tokens       ANY NOT NULL,
    input_cache_write_tokens      ANY NOT NULL,
    output_text_tokens            ANY NOT NULL,
    output_reasoning_tokens       ANY NOT NULL,
    input_audio_tokens            ANY NOT NULL,
    input_cache_read_audio_tokens ANY NOT NULL,
    output_audio_tokens           ANY NOT NULL,
    input_image_tokens            ANY NOT NULL,
    input_cache_read_image_tokens ANY NOT NULL,
    output_image_tokens           ANY NOT NULL,
    citation_tokens               ANY NOT NULL,
    searches                      ANY NOT NULL,
    input_images                  ANY NOT NULL,
    cost_usd                      TEXT NOT NULL,
    cost_nanos                    ANY NOT NULL,
    adjusted_usd                  TEXT NOT NULL,
    adjusted_nanos                ANY NOT NULL,
    latency_ms                    TEXT,
    latency_requests              TEXT,
    PRIMARY KEY (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
) STRICT, WITHOUT ROWID;

CREATE TABLE rows_requests (
    position                      INTEGER NOT NULL,
    request_id                    TEXT NOT NULL,
    recorded_at                   TEXT NOT NULL,
    status                        TEXT NOT NULL,
    partner_id                    TEXT,
    tenant_id                     TEXT,
    user_id                       TEXT,
    key_id                        TEXT,
    model                         TEXT NOT NULL,
    provider                      TEXT,
    backend                       TEXT,
    payer                         TEXT,
    cost_usd                      TEXT NOT NULL,
    cost_nanos                    ANY NOT NULL,
    corrected_usd                 TEXT NOT NULL,
    corrected_nanos               ANY NOT NULL,
    input_uncached_tokens         ANY NOT NULL,
    input_cache_read_tokens       ANY NOT NULL,
    input_cache_write_tokens      ANY NOT NULL,
    output_text_tokens            ANY NOT NULL,
    output_reasoning_tokens       ANY NOT NULL,
    input_audio_tokens            ANY NOT NULL,
    input_cache_read_audio_tokens ANY NOT NULL,
    output_audio_tokens           ANY NOT NULL,
    input_image_tokens            ANY NOT NULL,
    input_cache_read_image_tokens ANY NOT NULL,
    output_image_tokens           ANY NOT NULL,
    citation_tokens               ANY NOT NULL,
    searches                      ANY NOT NULL,
    input_images                  ANY NOT NULL,
    latency_ms                    INTEGER,
    hold_position                 INTEGER,
    outcome_position              INTEGER,
    hold_end_position             INTEGER,
    PRIMARY KEY (position)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_time ON rows_requests (recorded_at);
CREATE INDEX requests_by_tenant ON rows_requests (tenant_id, recorded_at);
CREATE INDEX requests_by_id ON rows_requests (request_id);

CREATE TABLE rows_other_usage (
    position    INTEGER NOT NULL,
    recorded_at TEXT NOT NULL,
    partner_id  TEXT,
    tenant_id   TEXT,
    user_id     TEXT,
    key_id      TEXT,
    model       TEXT,
    provider    TEXT,
    backend     TEXT,
    payer       TEXT,
    refused     ANY NOT NULL,
    cost_usd    TEXT NOT NULL,
    cost_nanos  INTEGER NOT NULL,
    PRIMARY KEY (position)
) STRICT, WITHOUT ROWID;
CREATE INDEX other_usage_by_time ON rows_other_usage (recorded_at);

CREATE TABLE rows_budgets (
    budget_id   TEXT NOT NULL,
    scope       TEXT NOT NULL,
    scope_id    TEXT NOT NULL,
    partner_id  TEXT,
    tenant_id   TEXT,
    limit_usd   TEXT NOT NULL,
    limit_nanos INTEGER NOT NULL,
    period      TEXT NOT NULL,
    alert_at    TEXT NOT NULL,
    when_short  TEXT NOT NULL,
    enforcement TEXT NOT NULL,
    opened_at   TEXT NOT NULL,
    closed_at   TEXT,
    position    INTEGER NOT NULL,
    PRIMARY KEY (budget_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rows_budget_windows (
    budget_id     TEXT NOT NULL,
    window_start  TEXT NOT NULL,
    settled_usd   TEXT NOT NULL,
    settled_nanos ANY NOT NULL,
    held_usd      TEXT NOT NULL,
    held_nanos    ANY NOT NULL,
    PRIMARY KEY (budget_id, window_start)
) STRICT, WITHOUT ROWID;

CREATE TABLE rows_audit (
    position    INTEGER NOT NULL,
    recorded_at TEXT NOT NULL,
    actor       TEXT NOT NULL,
    action      TEXT NOT NULL,
    resource    TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    category    TEXT NOT NULL,
    severity    TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    request_id  TEXT,
    partner_id  TEXT,
    tenant_id   TEXT,
    PRIMARY KEY (position)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_time ON rows_audit (recorded_at);

CREATE TABLE rows_resources (
    id               TEXT NOT NULL,
    kind             TEXT NOT NULL,
    partner_id       TEXT,
    tenant_id        TEXT,
    user_id          TEXT,
    name             TEXT,
    slug             TEXT,
    external_id      TEXT,
    created_at       TEXT NOT NULL,
    ended_at         TEXT,
    created_position INTEGER NOT NULL,
    position         INTEGER NOT NULL,
    PRIMARY KEY (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rows_prices (
    price_id                   TEXT NOT NULL,
    provider_id                TEXT NOT NULL,
    model                      TEXT NOT NULL,
    input_usd_per_mtok         TEXT NOT NULL,
    input_nanos_per_mtok       INTEGER NOT NULL,
    output_usd_per_mtok        TEXT NOT NULL,
    output_nanos_per_mtok      INTEGER NOT NULL,
    cache_read_usd_per_mtok    TEXT NOT NULL,
    cache_read_nanos_per_mtok  INTEGER NOT NULL,
    cache_write_usd_per_mtok   TEXT NOT NULL,
    cache_write_nanos_per_mtok INTEGER NOT NULL,
    reasoning_usd_per_mtok     TEXT NOT NULL,
    reasoning_nanos_per_mtok   INTEGER NOT NULL,
    request_usd                TEXT NOT NULL,
    request_nanos              INTEGER NOT NULL,
    effective_from             TEXT NOT NULL,
    tenant_id                  TEXT,
    created_at                 TEXT NOT NULL,
    ended_at                   TEXT,
    position                   INTEGER NOT NULL,
    PRIMARY KEY (price_id)
) STRICT, WITHOUT ROWID;

CREATE VIEW position AS
SELECT view, position,
       CASE WHEN position > 0 THEN strftime('%Y-%m-%dT%H:%M:%S', recorded_at / 1000000, 'unixepoch')
           || printf('.%06dZ', recorded_at % 1000000) END AS recorded_at
FROM rows_copied;

CREATE VIEW usage_by_hour AS
SELECT
    r.hour, nullif(r.partner_id, '') AS partner_id, partner.name AS partner_name, nullif(r.tenant_id, '') AS tenant_id,
    tenant.name AS tenant_name, tenant.external_id AS tenant_external_id, nullif(r.user_id, '') AS user_id,
    person.external_id AS user_external_id, nullif(r.key_id, '') AS key_id, api_key.name AS key_name,
    nullif(r.model, '') AS model, nullif(r.provider, '') AS provider, nullif(r.backend, '') AS backend,
    nullif(r.payer, '') AS payer, r.requests, r.refused, r.failed, r.input_uncached_tokens, r.input_cache_read_tokens,
    r.input_cache_write_tokens, r.output_text_tokens, r.output_reasoning_tokens, r.input_audio_tokens,
    r.input_cache_read_audio_tokens, r.output_audio_tokens, r.input_image_tokens, r.input_cache_read_image_tokens,
    r.output_image_tokens, r.citation_tokens, r.searches, r.input_images, r.cost_usd, r.cost_nanos, r.adjusted_usd,
    r.adjusted_nanos, r.latency_ms, r.latency_requests
FROM rows_usage_by_hour AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id
LEFT JOIN rows_resources AS person ON person.id = r.user_id
LEFT JOIN rows_resources AS api_key ON api_key.id = r.key_id;

CREATE VIEW requests AS
SELECT
    r.position, r.request_id, r.recorded_at, r.status, r.partner_id, partner.name AS partner_name, r.tenant_id,
    tenant.name AS tenant_name, tenant.external_id AS tenant_external_id, r.user_id,
    person.external_id AS user_external_id, r.key_id, api_key.name AS key_name, r.model, r.provider, r.backend, r.payer,
    r.cost_usd, r.cost_nanos, r.corrected_usd, r.corrected_nanos, r.input_uncached_tokens, r.input_cache_read_tokens,
    r.input_cache_write_tokens, r.output_text_tokens, r.output_reasoning_tokens, r.input_audio_tokens,
    r.input_cache_read_audio_tokens, r.output_audio_tokens, r.input_image_tokens, r.input_cache_read_image_tokens,
    r.output_image_tokens, r.citation_tokens, r.searches, r.input_images, r.latency_ms, r.hold_position,
    r.outcome_position, r.hold_end_position
FROM rows_requests AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id
LEFT JOIN rows_resources AS person ON person.id = r.user_id
LEFT JOIN rows_resources AS api_key ON api_key.id = r.key_id;

CREATE VIEW other_usage AS
SELECT
    r.position, r.recorded_at, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name,
    tenant.external_id AS tenant_external_id, r.user_id, person.external_id AS user_external_id, r.key_id,
    api_key.name AS key_name, r.model, r.provider, r.backend, r.payer, r.refused, r.cost_usd, r.cost_nanos
FROM rows_other_usage AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id
LEFT JOIN rows_resources AS person ON person.id = r.user_id
LEFT JOIN rows_resources AS api_key ON api_key.id = r.key_id;

CREATE VIEW budgets AS
SELECT
    r.budget_id, r.scope, r.scope_id, r.partner_id, partner.name AS partner_name, r.tenant_id,
    tenant.name AS tenant_name, r.limit_usd, r.limit_nanos, r.period, r.alert_at, r.when_short, r.enforcement,
    r.opened_at, r.closed_at, r.position
FROM rows_budgets AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id;

CREATE VIEW budget_windows AS
SELECT
    r.budget_id, budget.scope, budget.scope_id, budget.tenant_id, budget.period, budget.limit_usd, budget.limit_nanos,
    nullif(r.window_start, '1970-01-01T00:00:00.000000Z') AS window_start, r.settled_usd, r.settled_nanos, r.held_usd,
    r.held_nanos, printf('%d.%09d', remaining.nanos / 1000000000, remaining.nanos % 1000000000) AS remaining_usd,
    remaining.nanos AS remaining_nanos
FROM rows_budget_windows AS r
LEFT JOIN rows_budgets AS budget ON budget.budget_id = r.budget_id
-- Sums beyond 64 bits are above every limit.
LEFT JOIN (
    SELECT w.budget_id, w.window_start,
           iif(typeof(w.settled_nanos) = 'text' OR typeof(w.held_nanos) = 'text', 0,
               max(b.limit_nanos - w.settled_nanos - w.held_nanos, 0)) AS nanos
    FROM rows_budget_windows AS w JOIN rows_budgets AS b ON b.budget_id = w.budget_id
) AS remaining ON remaining.budget_id = r.budget_id AND remaining.window_start = r.window_start;

CREATE VIEW audit AS
SELECT
    r.position, r.recorded_at, r.actor, r.action, r.resource, r.resource_id, r.category, r.severity, r.outcome,
    r.request_id, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name
FROM rows_audit AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id;

CREATE VIEW resources AS
SELECT
    r.id, r.kind, r.partner_id, partner.name AS partner_name, r.tenant_id, tenant.name AS tenant_name, r.user_id,
    r.name, r.slug, r.external_id, r.created_at, r.ended_at, r.created_position, r.position
FROM rows_resources AS r
LEFT JOIN rows_resources AS partner ON partner.id = r.partner_id
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id;

CREATE VIEW prices AS
SELECT
    r.price_id, r.provider_id, provider.name AS provider, r.model, r.input_usd_per_mtok, r.input_nanos_per_mtok,
    r.output_usd_per_mtok, r.output_nanos_per_mtok, r.cache_read_usd_per_mtok, r.cache_read_nanos_per_mtok,
    r.cache_write_usd_per_mtok, r.cache_write_nanos_per_mtok, r.reasoning_usd_per_mtok, r.reasoning_nanos_per_mtok,
    r.request_usd, r.request_nanos, r.effective_from, r.tenant_id, tenant.name AS tenant_name, r.created_at, r.ended_at,
    r.position
FROM rows_prices AS r
LEFT JOIN rows_resources AS tenant ON tenant.id = r.tenant_id
LEFT JOIN rows_resources AS provider ON provider.id = r.provider_id;
