"""The conformance kit: every published assertion as a case that anyone can run against any access point."""
