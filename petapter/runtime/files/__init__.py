"""Files of texts, however large, through many modules; what a kill leaves behind is gone on with."""

from petapter.runtime.files.layout import FileModule
from petapter.runtime.files.running import FileProgress, FileReport, FileRun, OnProgress, predict_file

__all__ = ["FileModule", "FileProgress", "FileReport", "FileRun", "OnProgress", "predict_file"]
