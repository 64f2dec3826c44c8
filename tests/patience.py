"""How much longer than on a real processor everything may take: set where the tests run on an emulated one."""

from __future__ import annotations

import os

VARIABLE = "APISENSOR_TEST_PATIENCE"
PATIENCE = float(os.environ.get(VARIABLE, "1"))
"""By this every wait of the tests' sensor and peers is longer that ends as soon as what it waits for is there."""
PAUSE = min(PATIENCE, 2.0)
"""By this every pause is longer that lasts its whole time: for what should not come, or what the sensor does once a
second. Such a pause is many times what a real processor needs, and always costs all of it."""
