"""What is not μCode: rows on disk, checkpoints, the sandbox, the report."""

import os
import sys

# Here, because the modules below do not even compile in an older Python.
if sys.version_info < (3, 10):  # noqa: UP036, since nothing else enforces it
    print(f"{os.path.basename(sys.argv[0])}: Python 3.10 or newer is needed", file=sys.stderr)
    raise SystemExit(2)
