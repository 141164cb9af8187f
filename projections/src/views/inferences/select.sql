SELECT position, request_id, status, cost_nanos, hold_position, outcome_position, hold_end_position
