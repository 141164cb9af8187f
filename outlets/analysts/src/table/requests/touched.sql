FROM (SELECT DISTINCT position FROM touched_inferences WHERE at > ?1)
LEFT JOIN rows_inferences USING (position)
