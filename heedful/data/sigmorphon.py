"""SIGMORPHON 2021, task 1: words and how they are pronounced, from Wiktionary (Ashby et al. 2021).

A line is `word TAB phonemes`, the phonemes between spaces. The languages are those whose files have been seen here; the
task has six more. Sums are the SHA-256 of the uncompressed text of each split.
"""

from dataclasses import dataclass

URL = "https://raw.githubusercontent.com/sigmorphon/2021-task1/821bcdece5a47820872215969f275004b0abe80c/data"
PAIRS = {"high": (33_344, 4_168, 4_168), "medium": (8_000, 1_000, 1_000), "low": (800, 100, 100)}
"""Of train, dev and test."""
RECOMBINED = 12_000
"""Words made of parts of the 800 of a small language: in a training each is seen a few times."""


@dataclass(frozen=True)
class Language:
    """One language: its code in the task, its name, how much of it there is (`PAIRS`), and the sums of its splits."""

    code: str
    name: str
    size: str
    train: str
    dev: str
    test: str

    def checksum(self, split: str) -> str:
        """The SHA-256 of the text of "train", "dev" or "test"."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]


LANGUAGES = (
    Language(
        "eng_us",
        "English (US)",
        "high",
        "bbe76f57ee799ef9094b1ed1fecf8861e754ac57c6aa4db7d5b18892c5401f7f",
        "dcce99504c5f8a00ebf13499aa4d4c2b7fc37614b65127c98aa871855e77080e",
        "726192932a69a7197348ee64898613e94968234ce426cfc67d984baf5ddd317c",
    ),
    Language(
        "arm_e",
        "Armenian (Eastern)",
        "medium",
        "2cfc0ded02151377cb6fa25cae112acb7f3c0d1d92d5479de19799687b0be8d2",
        "151b26dd407836cbaea4110018a2090e6d627cb98ca5febcfe29bb48bec3bff1",
        "4b2301ef999b9f63d71b05825002a015ef4ce62b1dd56de924c78f237ebb5545",
    ),
    Language(
        "bul",
        "Bulgarian",
        "medium",
        "a0ad49ef705339bf7d7a301cf97cd33a5ab72743b4367914abe42c18ee835170",
        "f503124b83dff9ff2f248f39374bf7b8f93a915dafdee6c72f15f7bdf4317d01",
        "b4a7d382bf94ca5f1b8e5d6c03f567b5837eb5272da67fab8aef1dcfe967450b",
    ),
    Language(
        "dut",
        "Dutch",
        "medium",
        "08d327412cbf809a4cf894e015975d91588a38e8e05fb86450f42a4a38e534b8",
        "77a896e9510b6ebc610a9bc6a1bf32a06bc85489e9056caf77d996bb107318aa",
        "eb31a13e8f797f1bda23194689805c8ea0cd6960e86f739d1e818f1815c287ae",
    ),
    Language(
        "geo",
        "Georgian",
        "medium",
        "0369d37ddd994ad7366f3c0bfd314d80f2e80f1795c5b461e76344f188944635",
        "4a4127d579219a6a7a2079fef950c94543aa022ede1847b753c9e305c1f9e10f",
        "5f4ac16ace1fdb046ed9dbd99068d0bcfeed278f8c80cb91697ca7ef88c8f2d5",
    ),
    Language(
        "hbs_latn",
        "Serbo-Croatian (Latin)",
        "medium",
        "b4bf802445c2de3db73e20c2d6c51868e6c66ddb7abc64f5398469cf5c54e9c5",
        "38b3ab21d522b0553e97d62784287cf62e29460360bec8f20b32bbb47b2a7cbc",
        "8d0bdc358b35ccaf1cc2068b5304d92a90768c7ac608c2bba8d632e90bfaffd8",
    ),
    Language(
        "hun",
        "Hungarian",
        "medium",
        "cd6bea5ae552bc73a63abf459af5f41d27c1c276b4a15de49f1fffd23ee4d363",
        "a2892c27cf6d3075aacdd195c02bf34f8b509bcc08bb230b758d7978a7d920d0",
        "e9ec4ba9c89808864e6518e529e21cda6fe51287ad7a5a1fc23668cc64f31159",
    ),
    Language(
        "kor",
        "Korean",
        "medium",
        "0623be3d687864b534043585e50b1ac238b7d5564f1e7450b40be3df7329ff7c",
        "b1d22601f9b485f9b693dd82d832cb18695edb8a6a6ec6353d16ad729409b839",
        "341c4691b635f300822f89334d774023702eb64bf3d827562da25862de699ff2",
    ),
    Language(
        "ady",
        "Adyghe",
        "low",
        "1a83848ddbe34f7883503bc2e201f6999e695a9dc07fdded04fabe0a445ca881",
        "66f2b69326269a45c6d4189833822db281afc6ceaf15e275ed693a08513a9421",
        "3f20b99bab05fabc1bbdddce805cf99701b0bf05adfbc84544aae7c8faf48aeb",
    ),
    Language(
        "gre",
        "Greek",
        "low",
        "54523d43c445515c0e06d48e4150f5b40ad30da1a53243256e39d41d018a9ce4",
        "998f251e717e046b7b24e7b447390ef56dbfc960bc68fcfc86ae24da1743077d",
        "94b7baf85a08f023e03c0fa7542b5b5add8e34005d51563694327100d1652d25",
    ),
    Language(
        "ita",
        "Italian",
        "low",
        "e12573b2f640aa799b5f87ba265a61f62a6212217170aa915875d651a3e0ea1b",
        "de30becaa09b9121730a07faa80feb08c864405556ab34938d9aaf89f678d521",
        "66f7049496757be938615dddbfd6fd5c846728c477888900fc20bfcc9084bd0c",
    ),
    Language(
        "khm",
        "Khmer",
        "low",
        "9b8edb99987d15b36c6105b8f9cb35ae641480ea1bf38905f6ba33847fa2dcbc",
        "a35bdad9205675bbea8fd222806ae491d2ff539eb76fb9580bc574492135dfe0",
        "85c9d687044911f4cddc5566bebbd5a5d6250d5ebceca8c08605e295dc6102ab",
    ),
    Language(
        "lav",
        "Latvian",
        "low",
        "87bf348b77014eb857826065f7727905391bc74f082a1aa7609c42c7c517982e",
        "f444520b5172d43a4398369936cc8f15c21ee17fa52aadb5521856a91455980b",
        "f5467658f99030747d2667d0d8c7e1379093ab890a1828177b3ef397ee1a8eeb",
    ),
    Language(
        "rum",
        "Romanian",
        "low",
        "0cd55921d7ec6aaa79591fcc474d16c2c3df472676d6affa15d18d52c341739f",
        "ae0dace00c5882dbf5b397dda5b394945a409abff2c1311b0c8b8c7b5bcae76e",
        "0566272004619c8b2f117477c458f45c47033d3e6bfd32b6e3ba0a443ea74e71",
    ),
    Language(
        "slv",
        "Slovene",
        "low",
        "d85d5abbdbe5188166a0252b4b8c74fdb534a0ffe81e23b97bb3fb33e962bd61",
        "f697ae695c71164df293db4ce58e4cc22e80f7ca0aa6d78ae56a9278b256cc3a",
        "669f9fa50d08150bcedfdda008e3b4f6509d687ddf7b83d68ad2826d967f776b",
    ),
)
