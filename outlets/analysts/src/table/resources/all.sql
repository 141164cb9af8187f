FROM catalogue
ORDER BY id
