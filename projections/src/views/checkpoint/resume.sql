UPDATE projections SET error = NULL
