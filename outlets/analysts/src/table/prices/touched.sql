FROM (SELECT DISTINCT kind, id FROM touched_catalogue WHERE at > ?1 AND kind = 'price')
LEFT JOIN catalogue USING (kind, id)
