-- What an operation waits for came while a step of it was worked on: a wait that this step ends with is none.
ALTER TABLE operations ADD COLUMN hastened_at BIGINT;
