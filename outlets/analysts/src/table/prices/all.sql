FROM rows_catalogue
WHERE kind = 'price'
ORDER BY id
