SELECT MAX(position)
FROM events INDEXED BY events_of_administration
WHERE aggregate_type <> 'inference' AND aggregate_type <> 'hold' AND aggregate_type <> 'access'
  AND aggregate_type <> 'alert'
