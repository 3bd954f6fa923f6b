"""Where the images are: `shared/data` in the repository or beside it; TRAIN and DEV are its folders."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_PLACES = (_ROOT / "shared" / "data", _ROOT.parent / "shared" / "data")
_DATA = next((p for p in _PLACES if p.is_dir()), _PLACES[-1])

TRAIN = _DATA / "train"  # train-*.tar
DEV = _DATA / "dev"      # originals.tar, distractors.tar and their lists; never used by training
