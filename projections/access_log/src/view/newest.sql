SELECT answered_at FROM requests ORDER BY id DESC LIMIT 1
