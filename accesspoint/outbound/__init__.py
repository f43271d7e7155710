"""The way out: from an accepted submission to a verified receipt, over as many attempts as it takes."""
