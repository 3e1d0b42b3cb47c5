-- A receipt of a hundred thousand drops is read as fast as one of a single drop: two ends of a range.

DROP INDEX outbox_event_receipt;
CREATE INDEX outbox_event_receipt ON outbox_event (receipt_id, epoch, revision) WHERE receipt_id IS NOT NULL;
