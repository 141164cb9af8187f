UPDATE rows_projections SET error = NULL
