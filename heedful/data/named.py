"""Data sets by name: where their files come from, what they are, and on what terms.

`resolve("multi30k-en-de")` makes sure that the files are on this machine and says where. A set is either fetched
from its public source at a fixed version (see `fetch.py` for mirror, cache and sums) or generated here.

Where the sums come from: Multi30k's were taken from the source's files at the commit named; Tatoeba's and the
English-Japanese set's are of the uncompressed text of what is made from the download; WMT14's are those of TensorFlow
Datasets (`url_checksums`), and of sacreBLEU for newstest2014 (MD5). One split, the test of Tatoeba English-French, has
no sum known here: it is trusted at its first use, and must then stay the same.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from heedful.data import recombination, sigmorphon
from heedful.data.corpus import CorpusSettings, read_pairs
from heedful.data.fetch import Remote, UnreachableError, cache_folder, fetch, find
from heedful.data.listings import OF_OTHER_TASKS, Listing
from heedful.data.prepare import concatenate, extract, split_archive
from heedful.errors import DataError


@dataclass(frozen=True)
class NamedData:
    """The files of a named data set, on this machine.

    `tests` maps a name to its corpus, in the set's order; `unavailable` maps the name of a test set that could not
    be had to the reason. Train and validation are always there.
    """

    name: str
    train: tuple[CorpusSettings, ...]
    validation: CorpusSettings
    tests: Mapping[str, CorpusSettings]
    source_language: str | None
    target_language: str | None
    unavailable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Source:
    """How to get a set: `read(split)` gives a split's corpus in the set's own direction, fetching what it needs."""

    languages: tuple[str | None, str | None]
    train: tuple[str, ...]
    validation: str
    tests: tuple[str, ...]
    read: Callable[[str, bool], CorpusSettings]  # (split, progress)


def list_names() -> tuple[Listing, ...]:
    """Every name that `resolve` knows, and the sets of tasks that do not read pairs."""
    return (*(listing for listing, _ in _SETS.values()), *OF_OTHER_TASKS.values())


def resolve(name: str, progress: bool = True) -> NamedData:
    """Fetch or generate what is missing of a named data set, and say where its files are.

    Raises DataError for an unknown name (naming the nearest), for a file with a wrong sum, and for train or validation
    that cannot be had; a test set that cannot be had is left out and named in `unavailable`.
    """
    if name in OF_OTHER_TASKS:
        raise DataError(f"{name} holds no pairs of texts: {OF_OTHER_TASKS[name].description}.")
    if name not in _SETS:
        near = difflib.get_close_matches(name, _SETS, n=1)
        raise DataError(
            f"There is no data set named {name!r}{f'; did you mean {near[0]}?' if near else '.'} "
            "`heedful data` lists them."
        )
    source = _SETS[name][1]
    train = tuple(source.read(split, progress) for split in source.train)
    validation = source.read(source.validation, progress)
    tests: dict[str, CorpusSettings] = {}
    unavailable: dict[str, str] = {}
    for test in source.tests:
        try:
            tests[test] = source.read(test, progress)
        except UnreachableError as error:
            unavailable[test] = str(error)
    return NamedData(name, train, validation, tests, *source.languages, unavailable)


# --- Multi30k: github.com/multi30k/dataset, data/task1/raw, as published

_MULTI30K_URL = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw"
_MULTI30K_FILES = {  # name: (size in bytes, SHA-256)
    "train.de.gz": (637044, "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6"),
    "train.en.gz": (568929, "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f"),
    "train.fr.gz": (604242, "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c"),
    "val.de.gz": (24681, "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a"),
    "val.en.gz": (21650, "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28"),
    "val.fr.gz": (23001, "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9"),
    "test_2016_flickr.de.gz": (22890, "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8"),
    "test_2016_flickr.en.gz": (21077, "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9"),
    "test_2016_flickr.fr.gz": (22310, "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90"),
    "test_2017_flickr.de.gz": (21471, "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee"),
    "test_2017_flickr.en.gz": (19138, "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074"),
    "test_2017_flickr.fr.gz": (20434, "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496"),
    "test_2017_mscoco.de.gz": (10230, "799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338"),
    "test_2017_mscoco.en.gz": (8844, "aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58"),
    "test_2017_mscoco.fr.gz": (9751, "754f3072ba9f124569ba5258b32730fc1d214bbf8e0c6dfb2b74401676220db0"),
}


def _multi30k(source: str, target: str) -> _Source:
    def read(split: str, progress: bool) -> CorpusSettings:
        return _sides(partial(file, split, progress), source, target)

    def file(split: str, progress: bool, language: str) -> Path:
        name = f"{split}.{language}.gz"
        size, checksum = _MULTI30K_FILES[name]
        return fetch(Remote(f"multi30k/raw/{name}", f"{_MULTI30K_URL}/{name}", checksum, size), progress)

    tests = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    return _Source((source, target), ("train",), "val", tests, read)


# --- Tatoeba: the manythings.org/anki archives (which change) as kept in two GitHub repositories (which do not)

_TATOEBA_ARCHIVES = {
    "deu": "https://raw.githubusercontent.com/jhamburg/dats6450_nlp/fc38d83c4353d753fb9b34d98e945cbc5fab2811/deu-eng.zip",
    "fra": "https://raw.githubusercontent.com/modelexlab/data/adddaf33ac35572bcfeb421efec29435e7ea9332/fra-eng.zip",
}
_TATOEBA_FILES = {  # name: SHA-256 of the uncompressed text, where it is known
    "eng-deu.train": "b19a7b6870680bae5cb885b4d8576ec9bce8d9762b6024c359929023cbab2881",
    "eng-deu.dev": "81d7c286e93621ea19420af7b8341afec95893c06d8c87252bbb99a8b646a8fb",
    "eng-deu.test": "b073de4b528b01cbbb170ac37558a5052e2ea8ebfd2031951c1861ca583fefbf",
    "eng-fra.train": "8e5a27cb3a3430910b9894e174d2498a28a874809dc91b68f55da5b4ed389fd4",
    "eng-fra.dev": "4a0e35f5b0a60f68648e9dad063f8957dd54ed64764df6a5c4d2cd623d969232",
    "eng-fra.test": None,
}


def _tatoeba(source: str, target: str) -> _Source:
    other = {"de": "deu", "fr": "fra"}[target if source == "en" else source]

    def read(split: str, progress: bool) -> CorpusSettings:
        name = f"eng-{other}.{split}"
        path, checksum = f"tatoeba/{name}.tsv.gz", _TATOEBA_FILES[name]
        found = find(path, checksum, of_content=True)
        if found is None:
            archive = fetch(Remote(f"tatoeba/{other}-eng.zip", _TATOEBA_ARCHIVES[other]), progress)
            made = {part: f"tatoeba/eng-{other}.{part}.tsv.gz" for part in ("train", "dev", "test")}
            split_archive(archive, f"{other}.txt", made)
            found = _made(path, checksum)
        english = 0 if source == "en" else 1
        return CorpusSettings(pairs=found, source_field=english, target_field=1 - english)

    return _Source((source, target), ("train",), "dev", ("test",), read)


# --- English-Japanese: github.com/odashi/small_parallel_enja; train is published in five pieces

_ENJA_URL = (
    "https://raw.githubusercontent.com/odashi/small_parallel_enja/312408a11c5fbcbc09443bebb18121f7efdcd61e"
)
_ENJA_FILES = {  # name: SHA-256 of the uncompressed text
    "train.en": "148b05dcd28638fe20ee84f2b1127001c80982be352007dda241fb759adadc76",
    "train.ja": "fc81a1434349ec98a449d7ae9cd2530057f689637684ecfed3501ea6a8a07ecc",
    "dev.en": "04a2673449770657fd5e3b963cb856be3130923212b6db8ac7eaeef18f06c041",
    "dev.ja": "cd534f56b8639dc130f86a365e5ec0aa70042000bdd740a622fbbf8b6be4acca",
    "test.en": "45edb380749ec2b49cca7618fc5a7595fc9f791180672ba466b90c873a4aa8bf",
    "test.ja": "d37dc460a81b064e4106c8913eb11fa300da05cf3f58a7a5bbfec7e20947ddef",
}


def _enja(source: str, target: str) -> _Source:
    def read(split: str, progress: bool) -> CorpusSettings:
        return _sides(partial(file, split, progress), source, target)

    def file(split: str, progress: bool, language: str) -> Path:
        name = f"{split}.{language}"
        path, checksum = f"small_parallel_enja/{name}.gz", _ENJA_FILES[name]
        found = find(path, checksum, of_content=True)
        if found is None:
            pieces = [f"{name}.{number:03}" for number in range(5)] if split == "train" else [name]
            remotes = [Remote(f"small_parallel_enja/{piece}", f"{_ENJA_URL}/{piece}") for piece in pieces]
            concatenate([fetch(remote, progress) for remote in remotes], path)
            found = _made(path, checksum)
        return found

    return _Source((source, target), ("train",), "dev", ("test",), read)


# --- Multi30k and Tatoeba together: captions and everyday sentences, so that there are short and long ones


def _multi30k_tatoeba(source: str, target: str) -> _Source:
    parts = {"multi30k": _multi30k(source, target), "tatoeba": _tatoeba(source, target)}

    def read(split: str, progress: bool) -> CorpusSettings:
        if split != "validation":
            name, _, own_split = split.partition(".")
            return parts[name].read(own_split, progress)
        # A recipe validates on one corpus, so the two are put one after the other.
        joined = cache_folder() / "generated" / f"multi30k-tatoeba-{source}-{target}" / "validation.tsv"
        if not joined.is_file():
            held_out = [part.read(part.validation, progress) for part in parts.values()]
            _write_pairs(joined, (pair for corpus in held_out for pair in read_pairs(corpus)))
        return CorpusSettings(pairs=joined)

    def named(splits: Callable[[_Source], tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(f"{name}.{split}" for name, part in parts.items() for split in splits(part))

    return _Source(
        (source, target), named(lambda part: part.train), "validation", named(lambda part: part.tests), read
    )


# --- SIGMORPHON 2021: github.com/sigmorphon/2021-task1, from written words to phonemes


def _g2p(language: sigmorphon.Language, recombined: bool = False) -> _Source:
    def read(split: str, progress: bool) -> CorpusSettings:
        name = f"{language.size}/{language.code}_{split}.tsv"
        path, checksum = f"sigmorphon2021_g2p/{name}.gz", language.checksum(split)
        found = find(path, checksum, of_content=True)
        if found is None:
            remote = Remote(f"sigmorphon2021_g2p/{name}", f"{sigmorphon.URL}/{name}", checksum)
            concatenate([fetch(remote, progress)], path)
            found = _made(path, checksum)
        return CorpusSettings(pairs=found)

    def read_more(split: str, progress: bool) -> CorpusSettings:
        if split == "recombined":
            name = f"sigmorphon2021-g2p-{language.code}-v{recombination.VERSION}"
            made = cache_folder() / "generated" / name / "recombined.tsv"
            if not made.is_file():
                words = read_pairs(read("train", progress))
                _write_pairs(made, recombination.recombined_words(words, sigmorphon.RECOMBINED))
            return CorpusSettings(pairs=made)
        # Given words are drawn as often as made ones.
        weight = sigmorphon.RECOMBINED / sigmorphon.PAIRS[language.size][0] if split == "train" else 1.0
        return read(split, progress).model_copy(update={"weight": weight})

    if recombined:
        return _Source((None, None), ("train", "recombined"), "dev", ("test",), read_more)
    return _Source((None, None), ("train",), "dev", ("test",), read)


# --- WMT 2014: the shared task's own archives, raw text

_WMT_ARCHIVES = {  # name: (address, sum, size in bytes)
    "training-parallel-europarl-v7.tgz": (
        "https://www.statmt.org/wmt13",
        "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
        657_632_379,
    ),
    "training-parallel-commoncrawl.tgz": (
        "https://www.statmt.org/wmt13",
        "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
        918_311_367,
    ),
    "training-parallel-un.tgz": (
        "https://www.statmt.org/wmt13",
        "29141b5c1eba149a94f7a59d3b1a834b2e47fe0f8758d68dcd77a3d3f497ee47",
        2_365_634_246,
    ),
    "training-parallel-nc-v9.tgz": (
        "https://www.statmt.org/wmt14",
        "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
        80_418_416,
    ),
    "training-giga-fren.tar": (
        "https://www.statmt.org/wmt10",
        "3ff8319f6919393520559bfbc7ad6a747ec81b3abc7be9993b338d4b017b4d9a",
        2_595_102_720,
    ),
    "dev.tgz": (
        "https://data.statmt.org/wmt19/translation-task",
        "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
        38_654_961,
    ),
    "test-full.tgz": ("https://www.statmt.org/wmt14", "a8cd784e006feb32ac6f3d9ec7eb389a", None),
}
# split: (archive, member of the source side, member of the target side); {0} and {1} are the languages, {pair} is
# de-en or fr-en, {news} deen or fren.
_WMT_MEMBERS = {
    "europarl-v7": ("training-parallel-europarl-v7.tgz", "training/europarl-v7.{pair}.{0}"),
    "commoncrawl": ("training-parallel-commoncrawl.tgz", "commoncrawl.{pair}.{0}"),
    "un": ("training-parallel-un.tgz", "un/undoc.2000.{pair}.{0}"),
    "news-commentary-v9": ("training-parallel-nc-v9.tgz", "training/news-commentary-v9.{pair}.{0}"),
    "giga": ("training-giga-fren.tar", "giga-fren.release2.fixed.{0}.gz"),
    "newstest2013": ("dev.tgz", "dev/newstest2013.{0}"),
    "newstest2014": ("test-full.tgz", "test-full/newstest2014-{news}-{side}.{0}.sgm"),
}


def _wmt14(source: str, target: str) -> _Source:
    other = target if source == "en" else source
    pair, news = f"{other}-en", f"{other}en"

    def read(split: str, progress: bool) -> CorpusSettings:
        archive, member = _WMT_MEMBERS[split]
        # The test set has one file for each language and direction; train and validation have one for each language.
        folder = f"wmt14/{source}-{target}" if split == "newstest2014" else f"wmt14/{pair}"
        paths = {language: f"{folder}/{split}.{language}.gz" for language in (source, target)}
        if any(find(path) is None for path in paths.values()):
            url, checksum, size = _WMT_ARCHIVES[archive]
            local = fetch(Remote(f"wmt14/{archive}", f"{url}/{archive}", checksum, size), progress)
            sides = {source: "src", target: "ref"}
            named = {
                member.format(language, pair=pair, news=news, side=sides[language]): path
                for language, path in paths.items()
            }
            extract(local, named)
        return _sides(lambda language: _made(paths[language], None), source, target)

    train = ("europarl-v7", "commoncrawl", "news-commentary-v9")
    if other == "fr":
        train += ("un", "giga")
    return _Source((source, target), train, "newstest2013", ("newstest2014",), read)


# --- generated here


def _dates() -> _Source:
    def read(split: str, progress: bool) -> CorpusSettings:
        from heedful.data import dates  # its calendar data are not needed to read other corpora

        return _generated(f"dates-v{dates.VERSION}", split, dates.write)

    return _Source((None, None), ("train",), "validation", ("test",), read)


def _algorithmic(task: str) -> _Source:
    def read(split: str, progress: bool) -> CorpusSettings:
        from heedful.data import algorithmic

        return _generated(f"{task}-v{algorithmic.VERSION}", split, partial(algorithmic.write, task=task))

    return _Source((None, None), ("train",), "validation", ("test",), read)


def _generated(name: str, split: str, write: Callable[[Path], None]) -> CorpusSettings:
    """A split of a generated set; `write` makes all three files of the folder, `train.tsv` among them."""
    folder = cache_folder() / "generated" / name
    if not all((folder / f"{part}.tsv").is_file() for part in ("train", "validation", "test")):
        write(folder)
    return CorpusSettings(pairs=folder / f"{split}.tsv")


def _write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    from heedful.data.dates import write_rows  # its calendar data are not needed to read other corpora

    write_rows(path, pairs)


def _sides(file: Callable[[str], Path], source: str, target: str) -> CorpusSettings:
    return CorpusSettings(source=file(source), target=file(target))


def _made(path: str, checksum: str | None) -> Path:
    """A file of the cache that has just been made."""
    found = find(path, checksum, of_content=True)
    if found is None:
        raise DataError(f"{cache_folder() / path} was made and is gone; does something clear the cache?")
    return found


# --- the list

_CAPTIONS = "29,000 train, 1,014 validation, tests of 1,000, 1,000 and 461 pairs; 1.3 MB"
_FLICKR_TERMS = "research and education, non-commercial (derived from Flickr30k); no licence file"
_WMT_TERMS = "research; each corpus has its own terms, see statmt.org/wmt14/translation-task.html"


def _sets() -> dict[str, tuple[Listing, _Source]]:
    sets: dict[str, tuple[Listing, _Source]] = {}

    def add(name: str, description: str, size: str, terms: str, source: _Source) -> None:
        sets[name] = Listing(name, description, size, terms), source

    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en")):
        add(
            f"multi30k-{source}-{target}",
            "image captions, translated by professionals; raw, cased text",
            _CAPTIONS,
            _FLICKR_TERMS,
            _multi30k(source, target),
        )
    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en")):
        size = "164,344 / 2,423 / 2,430" if "de" in (source, target) else "162,588 / 2,279 / 2,263"
        add(
            f"tatoeba-{source}-{target}",
            "short everyday sentences (Tatoeba, from manythings.org); no sentence is in two splits",
            f"{size} pairs; 4 MB",
            "CC BY 2.0 FR; attribute www.manythings.org/anki and tatoeba.org",
            _tatoeba(source, target),
        )
    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en")):
        add(
            f"multi30k-tatoeba-{source}-{target}",
            "multi30k and tatoeba in one, for short sentences and long ones",
            "the sums of both",
            f"{_FLICKR_TERMS}; CC BY 2.0 FR",
            _multi30k_tatoeba(source, target),
        )
    for source, target in (("en", "ja"), ("ja", "en")):
        add(
            f"small-parallel-{source}-{target}",
            "sentences of 4 to 16 words (Tanaka corpus), tokenised and in English lowercased by the source",
            "50,000 / 500 / 500 pairs; 1.3 MB",
            "Tanaka corpus, CC BY 2.0 FR; the repository states none of its own",
            _enja(source, target),
        )
    for source, target in (("en", "de"), ("de", "en"), ("en", "fr"), ("fr", "en")):
        size = (
            "4.5 million pairs; downloads 1.7 GB"
            if "de" in (source, target)
            else "40.8 million pairs; 6.7 GB"
        )
        add(
            f"wmt14-{source}-{target}",
            "news, parliament and web text of the WMT 2014 shared task; validation newstest2013, test newstest2014",
            size,
            _WMT_TERMS,
            _wmt14(source, target),
        )
    for language in sigmorphon.LANGUAGES:
        train, dev, test = sigmorphon.PAIRS[language.size]
        add(
            f"sigmorphon2021-g2p-{language.code}",
            f"{language.name}: words and their phonemes (SIGMORPHON 2021, task 1, {language.size})",
            f"{train:,} / {dev:,} / {test:,} words",
            "CC BY-SA 3.0 (Wiktionary)",
            _g2p(language),
        )
        if language.size == "low":
            add(
                f"sigmorphon2021-g2p-{language.code}-recombined",
                f"the same {language.name}, and words made of parts of its train (see `heedful recombine`)",
                f"{train:,} and {sigmorphon.RECOMBINED:,} made here / {dev:,} / {test:,} words",
                "CC BY-SA 3.0 (Wiktionary)",
                _g2p(language, recombined=True),
            )
    add(
        "dates",
        "dates in many languages and styles, and the same in ISO 8601; generated here from CLDR",
        "50,000 / 1,000 / 2,000 pairs; no download",
        "free (CLDR data: Unicode licence)",
        _dates(),
    )
    for task in ("copy", "reverse"):
        verb = "repeated" if task == "copy" else "turned round"
        add(
            task,
            f"sequences of symbols to be {verb}; generated here",
            "no download",
            "free",
            _algorithmic(task),
        )
    return sets


_SETS = _sets()
