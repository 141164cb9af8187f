FROM rows_audit
WHERE position > ?1
