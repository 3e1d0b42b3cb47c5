-- Roles of members, ways to reset a password, and when one was entered last.
SELECT 1;
