WHERE position > 0
