"""How octets are seen inside a longer text in base64, which no neighbour changes."""

import base64


def base64_forms(octets: bytes) -> tuple[bytes, ...]:
    """All characters that these octets alone decide, for each of the three places in which they may begin.

    A shorter piece would be found in any random text that is long enough.
    """
    forms = []
    for shift in range(3):
        begin, end = shift * 8, (shift + len(octets)) * 8
        coded = base64.b64encode(bytes(shift) + octets + bytes(3))
        forms.append(coded[-(-begin // 6) : end // 6])
    return tuple(forms)
