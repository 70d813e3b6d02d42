"""Runs programs that are not trusted: confined, limited, without network."""

from haas_mcp.sandbox.limits import Limits, Output, Program, ProgramFailed, ProgramTimeout
from haas_mcp.sandbox.runner import Sandbox

__all__ = ["Limits", "Output", "Program", "ProgramFailed", "ProgramTimeout", "Sandbox"]
