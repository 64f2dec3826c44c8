"""How much longer than on a real processor everything may take: set where the tests run on an emulated one."""

from __future__ import annotations

import os

VARIABLE = "APISENSOR_TEST_PATIENCE"
PATIENCE = float(os.environ.get(VARIABLE, "1"))
"""By this every wait of the tests' sensor and peers is longer."""
