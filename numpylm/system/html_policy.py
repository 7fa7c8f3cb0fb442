"""The security policy of a page: a browser runs only the scripts and uses only the styles whose hashes it names."""

import base64
import hashlib


def hashed(text: str) -> str:
    """A script or a style as the policy names it: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
