-- A small ciphertext stands in the row that it is committed with; only a large one is worth a file of its own.

ALTER TABLE wires ADD COLUMN part_octets {blob};
