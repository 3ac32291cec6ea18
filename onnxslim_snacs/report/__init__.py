"""What a run tells: one value, as JSON for programs and as tables for people."""

from onnxslim_snacs.report.report import GroupReport, Report, report_to_json
from onnxslim_snacs.report.tables import print_report

__all__ = ["GroupReport", "Report", "print_report", "report_to_json"]
