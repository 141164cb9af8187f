FROM rows_catalogue
ORDER BY id
