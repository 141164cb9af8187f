DELETE FROM rows_usage_by_hour
WHERE hour = ?1 AND partner_id = ?2 AND tenant_id = ?3 AND user_id = ?4 AND key_id = ?5 AND model = ?6
  AND provider = ?7 AND backend = ?8 AND payer = ?9
  AND requests = 0 AND refused = 0 AND failed = 0 AND input_uncached_tokens = 0 AND input_cache_read_tokens = 0
  AND input_cache_write_tokens = 0 AND output_text_tokens = 0 AND output_reasoning_tokens = 0
  AND input_audio_tokens = 0 AND input_cache_read_audio_tokens = 0
  AND output_audio_tokens = 0 AND input_image_tokens = 0
  AND input_cache_read_image_tokens = 0 AND output_image_tokens = 0
  AND citation_tokens = 0 AND searches = 0
  AND input_images = 0 AND cost_nanos = 0 AND adjusted_nanos = 0
