FROM audit
WHERE position > ?1
