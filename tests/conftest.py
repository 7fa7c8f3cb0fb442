"""The folder of optional real data: NUMPYLM_SHARED_DATA, or else ../shared/data."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("NUMPYLM_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set NUMPYLM_SHARED_DATA to its folder to run this test")
    return folder
