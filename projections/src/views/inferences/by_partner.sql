FROM (
    SELECT * FROM rows_inferences
    WHERE partner_id = coalesce(:visible_partner, :partner) AND position >= :first AND position < :before
    ORDER BY position DESC LIMIT :scan_max
)
