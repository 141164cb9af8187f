FROM (SELECT DISTINCT kind, id FROM touched_catalogue WHERE at > ?1)
LEFT JOIN catalogue USING (kind, id)
