"""What is said of each word of the vocabulary is said of all of them, and in the vocabulary's order."""

from typing import get_args

from omrl_bench import vocabulary
from omrl_bench.data.contexts import SOURCES


def test_each_word_has_its_meaning():
    assert tuple(SOURCES) == get_args(vocabulary.Quality)
    assert tuple(vocabulary.UNITS) == get_args(vocabulary.Unit)
    assert tuple(vocabulary.TRAINED_ON) == vocabulary.QUALITIES
    assert {source for source, _, _ in SOURCES.values()} <= set(vocabulary.DATASETS)


def test_literals_that_share_words_agree():
    assert set(vocabulary.RERUNS) - {"all"} == set(vocabulary.STATES) - {"complete"}
