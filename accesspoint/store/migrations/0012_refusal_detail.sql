-- compatible: 11
-- Why exactly a message was refused, in our own words and scrubbed: such as which P-Mode came nearest. The sender is
-- told the code alone.

ALTER TABLE refusals ADD COLUMN detail TEXT;
