DROP INDEX outbox_event_receipt;
CREATE INDEX outbox_event_receipt ON outbox_event (receipt_id) WHERE receipt_id IS NOT NULL;
