DROP FUNCTION require_credential(uuid, uuid, timestamptz, inet, text[]);
ALTER TABLE member DROP COLUMN invited_at;
