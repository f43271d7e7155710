"""XML schemas written for this package; `envelope.xml.schema` compiles them by name."""
