SELECT latency_ms, latency_requests FROM rows_usage_latency
WHERE hour = ?1 AND partner_id = ?2 AND tenant_id = ?3 AND user_id = ?4 AND key_id = ?5 AND model = ?6
  AND provider = ?7 AND backend = ?8 AND payer = ?9
