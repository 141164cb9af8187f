SELECT position, recorded_at, actor, action, resource, severity, outcome, request_id, changes
