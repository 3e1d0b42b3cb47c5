-- Takes 0006_fleet.sql back, in the opposite order.
SELECT 1;
