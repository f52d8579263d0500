"""What `heedful data` says of a named set; and the sets without pairs, which tasks of another kind fetch themselves.

The latter are what data.name of their recipes may be: see labelled_named.py, entities.py, reading.py, named_texts.py,
babi_files.py and omniglot.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Listing:
    """What a named data set is: one line of description, its size, and its licence or terms."""

    name: str
    description: str
    size: str
    terms: str


OF_OTHER_TASKS = {
    "tinyshakespeare": Listing(
        "tinyshakespeare",
        "plays of Shakespeare; for recipes of the task language-modelling, fetched when one is trained",
        "1,003,854 / 111,540 characters; 0.4 MB",
        "public domain; the repository states no licence",
    ),
    "babi": Listing(
        "babi",
        "questions over stories, 20 tasks in English; for recipes of the task recall, fetched when one is trained",
        "20 x 900 / 100 / 1,000 questions; 0.6 MB",
        "CC BY 3.0 (Facebook, Inc.)",
    ),
    "omniglot": Listing(
        "omniglot",
        "handwritten characters of 50 alphabets, 20 drawings of each; for recipes of the task few-shot, fetched when "
        "one is trained",
        "1,028 / 172 / 423 characters (Vinyals et al. 2016); 14 MB",
        "MIT (Brenden Lake)",
    ),
}

# Texts with labels: heedful.data.labelled_named.
OF_OTHER_TASKS |= {
    name: Listing(name, f"{what}; for recipes of the task classification", size, terms)
    for name, what, size, terms in (
        (
            "trec",
            "questions and what they ask for, six kinds (Li and Roth 2002)",
            "5,452 / 500 questions; 0.3 MB",
            "distributed for research; no explicit licence",
        ),
        (
            "sst2",
            "sentences of film reviews, positive or negative, without their phrases (Socher et al. 2013)",
            "6,920 / 872 / 1,821 sentences; 1 MB",
            "distributed for research; no explicit licence",
        ),
        (
            "sst5",
            "the same in five degrees",
            "8,544 / 1,101 / 2,210 sentences; 1.2 MB",
            "distributed for research; no explicit licence",
        ),
        (
            "subj",
            "sentences of opinion, and of plot summaries (Pang and Lee 2004); ten folds",
            "10,000 sentences; 1.3 MB",
            "CC BY 4.0",
        ),
        (
            "mr",
            "sentences of film reviews, positive or negative (Pang and Lee 2005); ten folds",
            "10,662 sentences; 1.3 MB",
            "CC BY 4.0",
        ),
        (
            "movie_reviews",
            "whole film reviews, positive or negative (Pang and Lee 2004); ten folds",
            "2,000 reviews of 650 words; 4 MB",
            "CC BY 4.0",
        ),
    )
}

# Tagged sentences (heedful.data.entities), and questions about texts (heedful.data.reading).
OF_OTHER_TASKS |= {
    name: Listing(name, f"{what}; for recipes of the task {task}", size, terms)
    for name, task, what, size, terms in (
        (
            "wnut17",
            "tagging",
            "posts with the names in them, six types (Derczynski et al. 2017)",
            "3,394 / 1,009 / 1,287 posts; 0.3 MB",
            "CC BY 4.0",
        ),
        (
            "wikigold",
            "tagging",
            "Wikipedia with the names in it, four types (Balasuriya et al. 2009); folds of whole articles",
            "1,696 sentences; 0.1 MB",
            "CC BY 4.0",
        ),
        (
            "broad_twitter",
            "tagging",
            "tweets with the names in them, three types (Derczynski, Bontcheva and Roberts 2016); folds",
            "9,339 tweets; 0.5 MB",
            "CC BY 4.0",
        ),
        (
            "subjqa",
            "answering",
            "questions about reviews, many without an answer (Bjerva et al. 2020); also subjqa-electronics, -grocery, "
            "-restaurants, -tripadvisor",
            "4,984 / 970 / 1,727 questions; 6 MB",
            "research (terms of Amazon, Yelp, TripAdvisor)",
        ),
        (
            "xquad",
            "answering",
            "questions about Wikipedia (Artetxe et al. 2020); also xquad-de, xquad-es; folds",
            "1,190 questions; 0.1 MB",
            "CC BY-SA 4.0",
        ),
        (
            "fairytale_qa",
            "answering",
            "questions about fairy tales whose answers stand in them (Xu et al. 2022); from a mirror only",
            "3,150 / 475 / 486 questions; 1.7 MB",
            "Apache 2.0, as its repository states",
        ),
    )
}
