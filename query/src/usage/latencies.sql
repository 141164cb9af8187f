       histogram
FROM usage_latency
