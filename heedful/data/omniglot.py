"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings of each (Lake et al. 2015).

The splits are those of Vinyals et al. 2016 as Prototypical Networks published them: 1,028 characters to train on, 172
to validate, 423 to test. Where the mirror has the archives repacked (`data.fetch`), their sums are known here, too.
"""

from pathlib import Path

from heedful.data.fetch import Remote, fetch, find
from heedful.data.images import ImageFolderSettings
from heedful.data.prepare import compressed

_IMAGES_URL = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/057f034baf2ecb8530bc5710e5a23584d2a519cc/python"
)
_IMAGES = {  # name: (SHA-256 of a mirror's archive of the same images; MD5 and size of the official one)
    "images_background.zip": (
        "0a11823396e5fd61425d4903b231c3d1d51008b177d715e09a894350df220c5c",
        "68d2efa1b9178cc56df9314c21c6e718",
    ),
    "images_evaluation.zip": (
        "82e0952cc3bfaeae1b46061574fe2ef4b8040e120b1bd660b1197a482e2f5b17",
        "6b91aef0f799c5bb55b94e3f2daec811",
    ),
}
_SPLITS_URL = (
    "https://raw.githubusercontent.com/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
)
_SPLITS = {  # name: SHA-256 of the uncompressed text
    "train": "984522c194c30fb678ce53304a160a42faf5403ad4f9a67010f32dd3a35738e0",
    "trainval": "5276ae50c755596d0bff7f2284e85625695549a85ee6e36b6491ad1e5d1cc26a",
    "test": "845264cc5c156180828ccf17915668b17ee21424d0170df6e7d81676aa5d1204",
}


def splits(progress: bool = True) -> dict[str, ImageFolderSettings]:
    """Give train, validation and test, fetching what is missing. Raises DataError where that cannot be had."""
    folders = tuple(_images(name, progress) for name in _IMAGES)
    train, both, test = (_split(name, progress) for name in _SPLITS)
    return {
        "train": ImageFolderSettings(folders=folders, classes=train),
        "validation": ImageFolderSettings(folders=folders, classes=both, without=train),
        "test": ImageFolderSettings(folders=folders, classes=test),
    }


def _images(name: str, progress: bool) -> Path:
    repacked, official = _IMAGES[name]
    found = find(f"omniglot/{name}", repacked)
    return found or fetch(Remote(f"omniglot/official/{name}", f"{_IMAGES_URL}/{name}", official), progress)


def _split(name: str, progress: bool) -> Path:
    remote = Remote(f"omniglot/split_vinyals_{name}.txt", f"{_SPLITS_URL}/{name}.txt", _SPLITS[name])
    return compressed(remote, progress)
