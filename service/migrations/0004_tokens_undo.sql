-- Takes 0004_tokens.sql back, in the opposite order.
SELECT 1;
