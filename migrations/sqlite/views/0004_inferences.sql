-- One row per request, at the position of its first event: the columns that requests are searched by, the positions of
-- their other events, and the columns that usage is summed from: tokens, latency (in milliseconds) and cost. The rest stays
-- in the events: copies of it took nine tenths of the file. corrected_nanos: the part of the cost that corrections added.
-- payer: own; NULL for all others, which are brokered if there is a backend. shadow_of: the request that it is a copy of; NULL for most. status: admitted, completed, failed, aborted or refused. Times in microseconds since 1970, money in nano-dollars. ANY: a
-- number that may outgrow an INTEGER, and is then its decimal digits, see `views/exact.rs`.
CREATE TABLE rows_inferences (
    position    INTEGER NOT NULL PRIMARY KEY,
    request_id  TEXT    NOT NULL UNIQUE,
    recorded_at INTEGER NOT NULL,
    status      TEXT    NOT NULL,
    partner_id  TEXT,
    tenant_id   TEXT,
    user_id     TEXT,
    key_id      TEXT,
    model       TEXT    NOT NULL,
    provider    TEXT,
    backend     TEXT,
    payer       TEXT,
    shadow_of   TEXT,
    cost_nanos  ANY     NOT NULL,
    corrected_nanos          ANY NOT NULL DEFAULT 0,
    input_uncached_tokens    ANY NOT NULL DEFAULT 0,
    input_cache_read_tokens  ANY NOT NULL DEFAULT 0,
    input_cache_write_tokens ANY NOT NULL DEFAULT 0,
    output_text_tokens       ANY NOT NULL DEFAULT 0,
    output_reasoning_tokens  ANY NOT NULL DEFAULT 0,
    input_audio_tokens       ANY NOT NULL DEFAULT 0,
    input_cache_read_audio_tokens ANY NOT NULL DEFAULT 0,
    output_audio_tokens      ANY NOT NULL DEFAULT 0,
    input_image_tokens       ANY NOT NULL DEFAULT 0,
    input_cache_read_image_tokens ANY NOT NULL DEFAULT 0,
    output_image_tokens      ANY NOT NULL DEFAULT 0,
    citation_tokens          ANY NOT NULL DEFAULT 0,
    searches                 ANY NOT NULL DEFAULT 0,
    input_images             ANY NOT NULL DEFAULT 0,
    latency_ms  ANY,
    hold_position     INTEGER,
    outcome_position  INTEGER,
    hold_end_position INTEGER
) STRICT;

CREATE INDEX inferences_by_tenant ON rows_inferences (tenant_id, position);
CREATE INDEX inferences_by_partner ON rows_inferences (partner_id, position);
CREATE INDEX inferences_by_key ON rows_inferences (key_id, position);

-- A search for these few would otherwise scan all the others. Not `status IN (…)`: SQLite makes a table of a list of three
-- values for each row that it writes.
CREATE INDEX inferences_not_completed ON rows_inferences (status, position)
    WHERE status <> 'admitted' AND status <> 'completed';

-- The copies of one request, which are few among all requests. Others are not in it.
CREATE INDEX inferences_by_original ON rows_inferences (shadow_of, position) WHERE shadow_of IS NOT NULL;

-- Events that few requests have: failed attempts and corrections of the charge.
CREATE TABLE rows_inference_incidents (
    request_id  TEXT    NOT NULL,
    position    INTEGER NOT NULL,
    PRIMARY KEY (request_id, position)
) STRICT, WITHOUT ROWID;

-- Usage outside of admitted requests: refusals, each with the number of requests that it stands for, and corrections of
-- charges, at the time of the correction. model: '' for corrections, and for names that no model has.
CREATE TABLE rows_other_usage (
    position    INTEGER NOT NULL PRIMARY KEY,
    recorded_at INTEGER NOT NULL,
    partner_id  TEXT,
    tenant_id   TEXT,
    user_id     TEXT,
    key_id      TEXT,
    model       TEXT    NOT NULL,
    provider    TEXT    NOT NULL,
    backend     TEXT    NOT NULL,
    payer       TEXT    NOT NULL,
    refused     ANY     NOT NULL,
    cost_nanos  ANY     NOT NULL
) STRICT;

CREATE INDEX other_usage_by_time ON rows_other_usage (recorded_at);
CREATE INDEX other_usage_by_tenant ON rows_other_usage (tenant_id, recorded_at);
CREATE INDEX other_usage_by_partner ON rows_other_usage (partner_id, recorded_at);
CREATE INDEX other_usage_by_key ON rows_other_usage (key_id, recorded_at);
