"""Found by the S3 API of the tests through PYTHONPATH: it looks whether an object is there, then stores it, and must not be
interrupted by another request between the two, as it is on a machine under load."""

import sys

sys.setswitchinterval(60)
