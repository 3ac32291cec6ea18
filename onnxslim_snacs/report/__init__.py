"""What a run tells: one value, as JSON for programs and as tables for people."""

from onnxslim_snacs.report.report import GroupReport, Report, to_json
from onnxslim_snacs.report.tables import print_report

__all__ = ["GroupReport", "Report", "print_report", "to_json"]
