"""What a run tells: one value, as JSON for programs and as tables for people."""

from onnxslim_snacs.report.console import print_report
from onnxslim_snacs.report.report import GroupReport, Report, to_json

__all__ = ["GroupReport", "Report", "print_report", "to_json"]
