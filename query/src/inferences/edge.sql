SELECT min(position), count(*)
