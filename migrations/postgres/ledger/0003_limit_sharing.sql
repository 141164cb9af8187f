-- Whether the process shares its counts of rate limits: 'off' (it has no Redis), 'disconnected' (it has one, and no connection to it) or
-- 'connected'; null for one that counts none, or does not say it.
ALTER TABLE ledger.running_nodes ADD COLUMN limit_sharing text COLLATE "C";
