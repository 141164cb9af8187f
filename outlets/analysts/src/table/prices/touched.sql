FROM (SELECT DISTINCT kind, id FROM touched_catalogue WHERE at > ?1 AND kind = 'price')
LEFT JOIN rows_catalogue USING (kind, id)
