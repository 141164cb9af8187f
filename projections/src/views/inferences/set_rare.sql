-- Of few requests: the statements for all of them leave these at 0.
UPDATE rows_inferences SET
    input_audio_tokens = ?2,
    input_cache_read_audio_tokens = ?3,
    output_audio_tokens = ?4,
    input_image_tokens = ?5,
    input_cache_read_image_tokens = ?6,
    output_image_tokens = ?7,
    citation_tokens = ?8,
    searches = ?9,
    input_images = ?10
WHERE request_id = ?1
