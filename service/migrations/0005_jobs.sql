-- Changes of many tokens at once, as jobs with a result per token.
SELECT 1;
