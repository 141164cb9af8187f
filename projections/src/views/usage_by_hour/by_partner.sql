      AND partner_id = coalesce(:visible_partner, :partner)
