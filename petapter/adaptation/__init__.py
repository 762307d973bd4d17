"""Masked-LM training on unlabelled texts: a backbone that knows a domain, or an encoder that gets a masked-LM head."""

from petapter.adaptation.adapting import Base, adapt
from petapter.adaptation.options import AdaptationOptions, Precision
from petapter.adaptation.record import AdaptationRecord
from petapter.adaptation.texts import Texts

__all__ = ["AdaptationOptions", "AdaptationRecord", "Base", "Precision", "Texts", "adapt"]
