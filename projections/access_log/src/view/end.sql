SELECT min(id), count(*)
