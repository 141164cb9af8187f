DELETE FROM touched_budgets WHERE at <= ?1;
DELETE FROM touched_budget_windows WHERE at <= ?1;
DELETE FROM touched_usage WHERE at <= ?1;
DELETE FROM touched_inferences WHERE at <= ?1;
DELETE FROM touched_catalogue WHERE at <= ?1;
