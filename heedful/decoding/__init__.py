"""Search for every model: greedy, beam search, sampling; constraints; scoring of given pairs."""

from heedful.decoding.hypothesis import Hypothesis
from heedful.decoding.scoring import PairScores, score
from heedful.decoding.search import search
from heedful.decoding.settings import SearchSettings
from heedful.decoding.shortlist import Shortlist

__all__ = ["Hypothesis", "PairScores", "SearchSettings", "Shortlist", "score", "search"]
