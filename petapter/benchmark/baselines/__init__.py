"""What petapter is measured against: older and simpler ways of learning a classifier from few texts."""

from collections.abc import Mapping

from petapter.benchmark.baselines.bag_of_words import tfidf_regression
from petapter.benchmark.baselines.classifiers import full_finetuning, standard_head
from petapter.benchmark.baselines.embeddings import embedding_regression
from petapter.benchmark.baselines.majority import majority
from petapter.benchmark.baselines.pet import pet
from petapter.benchmark.baselines.zero_shot import zero_shot
from petapter.benchmark.methods import MethodOf

BASELINES: Mapping[str, MethodOf] = {
    "embedding-lr": embedding_regression,
    "full-finetuning": full_finetuning,
    "majority": majority,
    "pet": pet,
    "standard-head": standard_head,
    "tfidf-lr": tfidf_regression,
    "zero-shot": zero_shot,
}
"""By the name that a grid uses."""

__all__ = ["BASELINES"]
