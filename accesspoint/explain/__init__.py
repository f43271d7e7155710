"""What captured bytes mean, for people of two organisations who have to agree whose fault it is.

The tree and the verdict come from `envelope.explain`; here they meet the rules of the standards, the sentence to
write to the partner, and the page or terminal that shows them. Every text is cleaned of patient numbers, keys and
tokens on its way out, and payloads are shown to nobody who did not ask.

Spec: experience section 6 (explain) and section 7.
"""

from accesspoint.explain.report import Report, build_report

__all__ = ["Report", "build_report"]
