FROM inferences
ORDER BY position
