-- Of few requests, and corrections: the statement for all of them has no parameter for these.
UPDATE rows_usage_by_hour SET
    input_audio_tokens = exact_add(input_audio_tokens, ?10),
    input_cache_read_audio_tokens = exact_add(input_cache_read_audio_tokens, ?11),
    output_audio_tokens = exact_add(output_audio_tokens, ?12),
    input_image_tokens = exact_add(input_image_tokens, ?13),
    input_cache_read_image_tokens = exact_add(input_cache_read_image_tokens, ?14),
    output_image_tokens = exact_add(output_image_tokens, ?15),
    citation_tokens = exact_add(citation_tokens, ?16),
    searches = exact_add(searches, ?17),
    input_images = exact_add(input_images, ?18),
    adjusted_nanos = exact_add(adjusted_nanos, ?19)
WHERE hour = ?1 AND partner_id = ?2 AND tenant_id = ?3 AND user_id = ?4 AND key_id = ?5 AND model = ?6
  AND provider = ?7 AND backend = ?8 AND payer = ?9
