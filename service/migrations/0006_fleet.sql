-- Counts of the tokens of each account, kept as they change.
SELECT 1;
