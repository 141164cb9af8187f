FROM rows_audit
ORDER BY position
