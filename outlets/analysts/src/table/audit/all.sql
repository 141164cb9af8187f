FROM audit
ORDER BY position
