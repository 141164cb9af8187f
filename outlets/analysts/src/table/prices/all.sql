FROM catalogue
WHERE kind = 'price'
ORDER BY id
