-- Policies that cascade, and templates of scopes.
SELECT 1;
