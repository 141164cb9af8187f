-- Usage by hour and by every dimension. hour: seconds since 1970. A dimension that is not known is ''.
-- backend: provider/model; '' while a request is in progress. payer: own or brokered; '' without a backend. cost_nanos: adjusted_nanos, the sum of
-- corrections, is included. No row is all zero. ANY: a number that may outgrow an INTEGER,
-- and is then its decimal digits, see `views/exact.rs`.
CREATE TABLE rows_usage_by_hour (
    hour       INTEGER NOT NULL,
    partner_id TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    payer      TEXT    NOT NULL,
    requests   INTEGER NOT NULL,
    refused    ANY     NOT NULL,
    failed     INTEGER NOT NULL,
    input_uncached_tokens    ANY     NOT NULL,
    input_cache_read_tokens  ANY     NOT NULL,
    input_cache_write_tokens ANY     NOT NULL,
    output_text_tokens       ANY     NOT NULL,
    output_reasoning_tokens  ANY     NOT NULL,
    input_audio_tokens       ANY     NOT NULL DEFAULT 0,
    input_cache_read_audio_tokens ANY     NOT NULL DEFAULT 0,
    output_audio_tokens      ANY     NOT NULL DEFAULT 0,
    input_image_tokens       ANY     NOT NULL DEFAULT 0,
    input_cache_read_image_tokens ANY     NOT NULL DEFAULT 0,
    output_image_tokens      ANY     NOT NULL DEFAULT 0,
    citation_tokens          ANY     NOT NULL DEFAULT 0,
    searches                 ANY     NOT NULL DEFAULT 0,
    input_images             ANY     NOT NULL DEFAULT 0,
    cost_nanos ANY     NOT NULL,
    adjusted_nanos ANY NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
) STRICT, WITHOUT ROWID;

-- Latencies by the same dimensions, as histograms, since percentiles cannot be added: JSON arrays of the latencies that represent
-- the buckets, and of the requests that these count, see `views/usage_by_hour/latency.rs`. With one row per bucket, most rows would
-- count one request.
CREATE TABLE rows_usage_latency (
    hour       INTEGER NOT NULL,
    partner_id TEXT    NOT NULL,
    tenant_id  TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    key_id     TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    backend    TEXT    NOT NULL,
    payer      TEXT    NOT NULL,
    latency_ms       TEXT NOT NULL,
    latency_requests TEXT NOT NULL,
    PRIMARY KEY (hour, tenant_id, key_id, model, backend, partner_id, user_id, provider, payer)
) STRICT, WITHOUT ROWID;

-- Failed calls of requests, by backend and hour: also of requests that another backend answered then. model: the provider's own name.
-- tenant_id and partner_id: '' for the operator's own.
CREATE TABLE rows_failed_calls (
    provider_id TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    hour        INTEGER NOT NULL,
    tenant_id   TEXT    NOT NULL,
    partner_id  TEXT    NOT NULL,
    calls       INTEGER NOT NULL,
    PRIMARY KEY (provider_id, model, hour, tenant_id, partner_id)
) STRICT, WITHOUT ROWID;
