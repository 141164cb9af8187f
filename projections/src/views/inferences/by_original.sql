FROM (
    SELECT * FROM rows_inferences
    WHERE shadow_of = :shadow_of AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)
