WHERE status = :status AND status IN ('failed', 'aborted', 'refused')
