-- What people write about a token, and who made it.
SELECT 1;
